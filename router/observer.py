"""Telemetry is a listener that is told frozen facts. The default one does nothing; one that fails breaks no request."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from router.analysis import Rung, SkipReason
from router.answer import Attempt
from router.decision import Decision
from router.records import RequestRecord
from router.request import RouteRequest, Tier

log = logging.getLogger(__name__)

Fact = TypeVar("Fact")

AGREEMENT = 0.5
"""Score of a shadow comparison from which the two answers are said to agree."""


class Stage(Enum):
    """A part of a request that takes time; values are the names of spans."""

    ANALYSIS = "analysis"
    PLAN = "plan"
    SETTLE = "settle"


@dataclass(frozen=True)
class RungFinished:
    """A rung gave an analysis (`reason` None), failed, or was skipped (`duration` 0); times in seconds."""

    request_id: str
    rung: Rung
    reason: SkipReason | None
    duration: float
    time_left: float


@dataclass(frozen=True)
class Decided:
    """The policy has chosen."""

    request_id: str
    decision: Decision


@dataclass(frozen=True)
class FirstToken:
    """A backend has sent the first piece of its answer."""

    request_id: str
    backend: str
    seconds: float


@dataclass(frozen=True)
class AttemptFinished:
    """A call to a backend has ended."""

    request_id: str
    attempt: Attempt


@dataclass(frozen=True)
class Settled:
    """A request has ended and is billed; `kept` tells whether the ledger took the record."""

    record: RequestRecord
    kept: bool


@dataclass(frozen=True)
class Refused:
    """A request was turned away at the door."""

    request: RouteRequest
    reason: str


@dataclass(frozen=True)
class ShadowJudged:
    """Two neighbouring tiers' answers were compared; `score` is how good the lower one is by the upper's measure."""

    request_id: str
    lower: Tier
    upper: Tier
    score: float

    @property
    def agrees(self) -> bool:
        """Whether the lower tier's answer would have done."""
        return self.score >= AGREEMENT


@dataclass(frozen=True)
class Fault:
    """Something did what it must never do, and the request went on without it."""

    where: str
    error: BaseException


class Observer:
    """Is told what happens; every method does nothing until it is overridden, and none may take long."""

    def stage(self, stage: Stage, request: RouteRequest) -> AbstractContextManager[object]:  # noqa: ARG002 - for subclasses
        """Returns a context that is entered for as long as a stage lasts."""
        return nullcontext()

    def rung_finished(self, fact: RungFinished) -> None:
        """Hears that a rung has ended or was skipped."""

    def decided(self, fact: Decided) -> None:
        """Hears the policy's choice."""

    def first_token(self, fact: FirstToken) -> None:
        """Hears that an answer begins."""

    def attempt_finished(self, fact: AttemptFinished) -> None:
        """Hears that a call to a backend has ended."""

    def settled(self, fact: Settled) -> None:
        """Hears that a request has ended; exactly once a request that was let in."""

    def refused(self, fact: Refused) -> None:
        """Hears that a request was turned away."""

    def shadow_judged(self, fact: ShadowJudged) -> None:
        """Hears how a shadow comparison ended."""

    def fault(self, fact: Fault) -> None:
        """Hears of a bug in a rung, a backend or the ledger."""


def notify(listener: Callable[[Fact], None], fact: Fact) -> None:
    """Tells a listener a fact; what goes wrong there is logged and forgotten."""
    try:
        listener(fact)
    except Exception:  # a listener never breaks a request
        log.exception("an observer failed on %s", type(fact).__name__)


@contextmanager
def staged(observer: Observer, stage: Stage, request: RouteRequest) -> Iterator[None]:
    """Enters the observer's context of a stage. Its failures are logged; it can't swallow the stage's own."""
    with ExitStack() as contexts:
        try:
            context = observer.stage(stage, request)
            context.__enter__()
        except Exception:  # a listener never breaks a request
            log.exception("an observer failed at the start of %s", stage.value)
        else:
            contexts.push(_quietly(context))
        yield


def _quietly(context: AbstractContextManager[object]) -> Callable[..., bool]:
    def leave(*exception: object) -> bool:
        try:
            context.__exit__(*exception)  # type: ignore[arg-type]  # passed on as they came
        except Exception:  # a listener never breaks a request
            log.exception("an observer failed at the end of a stage")
        return False

    return leave
