"""Shadow comparisons: a small, uniformly drawn share of requests is also answered by neighbouring tiers, and judged.

Both are drawn: the request, and the two neighbouring tiers to compare. The tier that answered is mostly one of the two;
where it is not, both are asked. Only so do pairs show what a policy would do that chooses otherwise.
"""

import asyncio
import random as randomness
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from router.answer import Answer, FinishReason
from router.decision import Cause
from router.observer import Fault, Observer, ShadowJudged, notify
from router.ports import Random
from router.request import RouteRequest, Tier

CHOSEN_FREELY = frozenset({Cause.QUALITY_TARGET, Cause.LOW_CONFIDENCE})
"""What settles a choice that learning has a say in."""

Judge = Callable[[str, str], float | None]
"""Says how good the first answer is by the second's measure, 0 to 1; None when it can't."""


@dataclass(frozen=True)
class Compared:
    """A pair of answers, judged, as it is kept beside its request."""

    tenant: str
    request_id: str
    lower: Tier
    upper: Tier
    lower_score: float
    upper_score: float
    policy_revision: str


class Arm(Protocol):
    """Has a request answered by one tier, billed and marked as a shadow."""

    async def __call__(self, request: RouteRequest, answer: Answer, tier: Tier) -> str | None:
        """Returns the answer; None when there is none, or the tenant's budget does not pay for it."""
        ...


class Pairs(Protocol):
    """Keeps pairs."""

    async def put_pair(self, pair: Compared) -> None:
        """Keeps a pair."""
        ...


@dataclass(frozen=True)
class ShadowSettings:
    """How many requests are drawn, and how many compared at a time: one too many is left out, and counted."""

    share: float = 0.0
    concurrent: int = 4


@dataclass
class Shadows:
    """Draws, asks, judges and keeps, off the request path."""

    pairs: Pairs
    judge: Judge
    observer: Observer
    settings: ShadowSettings = ShadowSettings()
    random: Random = randomness.random
    drawn: int = 0
    kept: int = 0
    undecided: int = 0
    left_out: int = 0
    _at_work: set[asyncio.Task[None]] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"Shadows({self.drawn} drawn, {self.kept} kept, {self.undecided} undecided, {self.left_out} left out)"

    def consider(self, request: RouteRequest, answer: Answer, arm: Arm) -> None:
        """Compares the answer if its request is drawn. Returns at once."""
        if self.random() >= self.settings.share or not eligible(request, answer):
            return
        self.drawn += 1
        if len(self._at_work) >= self.settings.concurrent:
            self.left_out += 1
            return
        tiers = [estimate.tier for estimate in answer.decision.considered]
        link = min(int(self.random() * (len(tiers) - 1)), len(tiers) - 2)
        task = asyncio.create_task(self._compare(request, answer, arm, (tiers[link], tiers[link + 1])))
        self._at_work.add(task)
        task.add_done_callback(self._finished)

    async def close(self) -> None:
        """Ends what is under way; its calls are billed as far as they went."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)

    async def idle(self) -> None:
        """Waits until nothing is under way."""
        while self._at_work:
            await asyncio.wait(self._at_work)

    async def _compare(self, request: RouteRequest, answer: Answer, arm: Arm, link: tuple[Tier, Tier]) -> None:
        below, above = [
            answer.text if tier is answer.decision.tier else await arm(request, answer, tier) for tier in link
        ]
        score = None if below is None or above is None else self.judge(below, above)
        if score is None:
            self.undecided += 1
            return
        revision = answer.decision.policy_revision
        await self.pairs.put_pair(Compared(request.tenant, request.request_id, *link, score, 1.0, revision))
        self.kept += 1
        notify(self.observer.shadow_judged, ShadowJudged(request.request_id, *link, score))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            notify(self.observer.fault, Fault("shadow", error))


def eligible(request: RouteRequest, answer: Answer) -> bool:
    """Whether an answer can be compared: whole, analysed, chosen freely, with a neighbouring tier.

    A caller who demands tiers or a cost has not left the choice to the policy.
    """
    demands = request.constraints
    decision = answer.decision
    return (
        decision.analysis is not None
        and decision.cause in CHOSEN_FREELY
        and answer.finish_reason is FinishReason.STOP
        and len(decision.considered) > 1
        and (demands.min_tier, demands.max_tier, demands.max_cost_micros) == (None, None, None)
    )
