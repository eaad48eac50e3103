"""The other answer of a shadow comparison: dispatched, billed and booked as any, under the RPC name Shadow."""

from contextlib import aclosing
from dataclasses import dataclass, replace

from router.answer import Answer, FinishReason
from router.books import SHADOW, Books
from router.cascade import Finding
from router.dispatch import Dispatcher, Errand
from router.planning import Planner
from router.pricing import total_micros
from router.request import Constraints, RouteRequest, Tier
from router.terms import Terms
from servicekit.deadline import Deadline
from servicekit.errors import ServiceError

SECONDS = 60.0


@dataclass(frozen=True)
class ShadowArm:
    """Has a request answered by one tier."""

    terms: Terms
    planner: Planner
    dispatcher: Dispatcher
    books: Books

    async def __call__(self, request: RouteRequest, answer: Answer, tier: Tier) -> str | None:
        """Returns the whole answer; None when the tier gives none or the budget does not pay for it."""
        pinned = replace(request, constraints=Constraints(min_tier=tier, max_tier=tier), session_id="")
        try:
            return await self._ask(pinned, Finding(answer.decision.analysis))
        except ServiceError:
            return None

    async def _ask(self, request: RouteRequest, finding: Finding) -> str | None:
        with self.books.open(request, SHADOW, self.terms) as (account, reservation):
            account.finding = finding
            account.plan = self.planner.plan(request, finding, self.terms)

            def cover(tier: Tier, micros: int | None) -> bool:
                return reservation.cover(tier, total_micros(finding.cost_micros, micros))

            deadline = Deadline.after(SECONDS)
            account.journey = self.dispatcher.start(
                Errand(request, account.plan, self.terms, deadline, whole=True, cover=cover)
            )
            async with aclosing(account.journey.texts()) as texts:
                async for _ in texts:
                    pass
        journey = account.journey
        return journey.text if journey.finish_reason is FinishReason.STOP else None
