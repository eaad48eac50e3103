"""Several listeners as one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from router.observer import (
    AttemptFinished,
    Decided,
    Fact,
    Fault,
    FirstToken,
    Observer,
    Refused,
    RungFinished,
    Settled,
    ShadowJudged,
    Stage,
    notify,
    staged,
)
from router.request import RouteRequest


class Listeners(Observer):
    """Tells each listener every fact; one that fails leaves the others their part."""

    def __init__(self, *listeners: Observer) -> None:
        self._listeners = listeners

    def __repr__(self) -> str:
        return f"Listeners({', '.join(type(each).__name__ for each in self._listeners)})"

    @contextmanager
    def stage(self, stage: Stage, request: RouteRequest) -> Iterator[None]:
        """Enters every listener's context."""
        with ExitStack() as contexts:
            for each in self._listeners:
                contexts.enter_context(staged(each, stage, request))
            yield

    def rung_finished(self, fact: RungFinished) -> None:
        """Passes it on."""
        self._tell(lambda each: each.rung_finished, fact)

    def decided(self, fact: Decided) -> None:
        """Passes it on."""
        self._tell(lambda each: each.decided, fact)

    def first_token(self, fact: FirstToken) -> None:
        """Passes it on."""
        self._tell(lambda each: each.first_token, fact)

    def attempt_finished(self, fact: AttemptFinished) -> None:
        """Passes it on."""
        self._tell(lambda each: each.attempt_finished, fact)

    def settled(self, fact: Settled) -> None:
        """Passes it on."""
        self._tell(lambda each: each.settled, fact)

    def refused(self, fact: Refused) -> None:
        """Passes it on."""
        self._tell(lambda each: each.refused, fact)

    def shadow_judged(self, fact: ShadowJudged) -> None:
        """Passes it on."""
        self._tell(lambda each: each.shadow_judged, fact)

    def fault(self, fact: Fault) -> None:
        """Passes it on."""
        self._tell(lambda each: each.fault, fact)

    def _tell(self, method: Callable[[Observer], Callable[[Fact], None]], fact: Fact) -> None:
        for each in self._listeners:
            notify(method(each), fact)
