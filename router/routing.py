"""The story of a request: admit, analyse, plan, dispatch, settle."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from router.account import Account
from router.admission import Admission
from router.answer import Answer, Preview
from router.books import DECIDE, ROUTE, STREAM_ROUTE, Books
from router.budgets import Reservation
from router.cascade import Cascade
from router.decision import Decision
from router.dispatch import Cover, Dispatcher, Errand
from router.planning import Plan, Planner
from router.pricing import total_micros
from router.request import RouteRequest, Tier
from router.terms import Terms
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded

Event = Decision | str | Answer
"""What a stream brings: first the decision, then pieces of text, at last the whole answer."""


class Router:
    """Sends each prompt to the cheapest tier that will answer it well."""

    def __init__(
        self,
        *,
        terms: Callable[[], Terms],
        admission: Admission,
        cascade: Cascade,
        planner: Planner,
        dispatcher: Dispatcher,
        books: Books,
    ) -> None:
        self._terms = terms
        self._admission = admission
        self._cascade = cascade
        self._planner = planner
        self._dispatcher = dispatcher
        self._books = books

    async def route(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """Returns the answer; raises a ServiceError when there is none."""
        async with aclosing(self._serve(request, deadline, whole=True)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        raise AssertionError("a request that raises no error ends with an answer")

    async def stream(self, request: RouteRequest, deadline: Deadline) -> AsyncGenerator[Event, None]:
        """Yields the decision, the text in pieces, the answer. Close it (`aclosing`): that ends the calls below it."""
        async with aclosing(self._serve(request, deadline, whole=False)) as events:
            async for event in events:
                yield event

    async def decide(self, request: RouteRequest, deadline: Deadline) -> Preview:
        """Returns the decision that `route` would make; nothing is sent to a tier."""
        with (
            self._admission.admit(request),
            self._books.open(request, DECIDE, self._terms()) as (account, reservation),
        ):
            await self._plan(account, reservation, deadline)
        return account.preview()

    async def _serve(self, request: RouteRequest, deadline: Deadline, *, whole: bool) -> AsyncGenerator[Event, None]:
        rpc = ROUTE if whole else STREAM_ROUTE
        with self._admission.admit(request), self._books.open(request, rpc, self._terms()) as (account, reservation):
            plan = await self._plan(account, reservation, deadline)
            yield plan.decision
            cover = _cover(account, reservation)
            account.journey = self._dispatcher.start(
                Errand(request, plan, account.terms, deadline, whole=whole, cover=cover)
            )
            with self._books.timed(account, "dispatch"):
                async with aclosing(account.journey.texts()) as texts:
                    async for text in texts:
                        yield text
        yield account.answer()

    async def _plan(self, account: Account, reservation: Reservation, deadline: Deadline) -> Plan:
        """Books an analysis, if any rung has one, and the plan made with it; returns the plan."""
        if deadline.expired():
            raise DeadlineExceeded("NO_TIME_LEFT", "The deadline was past when the request came.")
        with self._books.timed(account, "analysis"):
            account.finding = await self._cascade.analyze(account.request, deadline, may_pay=reservation.has_money())
        with self._books.timed(account, "plan"):
            account.plan = self._planner.plan(account.request, account.finding, account.terms)
        return account.plan


def _cover(account: Account, reservation: Reservation) -> Cover:
    """Returns what sets money aside for attempts on top of what the analysis cost."""

    def cover(tier: Tier, micros: int | None) -> bool:
        return reservation.cover(tier, total_micros(account.finding.cost_micros, micros))

    return cover
