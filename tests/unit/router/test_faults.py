"""A router through any sequence of faults: answered or a typed error in time, within budget, nothing left behind."""

import asyncio
from contextlib import aclosing

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from router.admission import AdmissionLimits
from router.analysis import Rung, RungFailed, SkipReason
from router.answer import Answer, AttemptOutcome, Chunk, FinishReason
from router.budgets import TenantBudgets
from router.fakes import FakeRung, Hang, Pause, a_request, an_analysis, failed
from router.observer import Fault
from router.purse import BudgetLimits
from router.request import Criticality, RouteRequest, Tier
from router.routing import Router
from servicekit.errors import ServiceError
from tests.support.router_kit import Kit, a_backend, now, seconds
from tests.support.virtual_time import VirtualLoop, clock

BUDGET = 200_000
CANCELLED = "cancelled"

BACKEND_FAULTS = {
    "well": "hello",
    "slow": [Pause(3.0), "hello"],
    "stopped": Hang(),
    "killed": failed(AttemptOutcome.UNAVAILABLE),
    "rate limited": failed(AttemptOutcome.RATE_LIMITED, retry_after_seconds=2.0),
    "cut": ["half", failed(AttemptOutcome.CUT_OFF)],
    "silent end": [Chunk("half")],
    "wrong key": failed(AttemptOutcome.UNAUTHENTICATED),
    "filter": failed(AttemptOutcome.CONTENT_FILTERED),
}
RUNG_FAULTS = {
    "easy": an_analysis(),
    "hard": an_analysis(0.1, 0.4, 0.9),
    "unsure": an_analysis(confidence=0.0),
    "nonsense": an_analysis(0.9, 0.1, 0.5),
    "stopped": Hang(),
    "killed": RungFailed(SkipReason.UNAVAILABLE),
    "busy": RungFailed(SkipReason.OVERLOADED, retry_after_seconds=1.0),
}


class FaultMachine(RuleBasedStateMachine):
    """Faults come and go while requests do."""

    @initialize()
    def start(self) -> None:
        """Starts a router with two backends a tier and both rungs."""
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.kit = Kit(
            [a_backend(tier, name=f"{tier.name}-{number}") for tier in Tier for number in (1, 2)],
            rungs={name: FakeRung([an_analysis()], name=name) for name in Rung},
            budgets=TenantBudgets({"acme": BudgetLimits(micros_per_day=BUDGET)}, now),
            admission_limits=AdmissionLimits(concurrent=8),
        )
        self.router: Router = self.run(self._make())
        self.sent = 0

    async def _make(self) -> Router:
        return self.kit.router()

    def run(self, coroutine: object) -> object:
        """Returns what the coroutine returns."""
        return self.runner.run(coroutine)  # type: ignore[arg-type]

    @rule(backend=st.integers(0, 5), fault=st.sampled_from(sorted(BACKEND_FAULTS)))
    def strike_a_backend(self, backend: int, fault: str) -> None:
        """From now on it behaves so."""
        self.kit.backends[backend].script = [BACKEND_FAULTS[fault]]  # type: ignore[list-item]

    @rule(rung=st.sampled_from(Rung), fault=st.sampled_from(sorted(RUNG_FAULTS)))
    def strike_a_rung(self, rung: Rung, fault: str) -> None:
        """From now on it behaves so."""
        self.kit.rungs[rung].script = [RUNG_FAULTS[fault]]

    @rule(length=st.floats(0.0, 5.0))
    def wait(self, length: float) -> None:
        """Time passes."""
        self.run(asyncio.sleep(length))

    @rule(
        count=st.integers(1, 12),
        left=st.floats(0.001, 30.0),
        rpc=st.sampled_from(["route", "stream", "decide"]),
        criticality=st.sampled_from(Criticality),
        cancel_after=st.one_of(st.none(), st.floats(0.0, 5.0)),
    )
    def send(self, count: int, left: float, rpc: str, criticality: Criticality, cancel_after: float | None) -> None:
        """Several requests at once; some callers go away."""
        requests = [a_request(request_id=str(self.sent + n), criticality=criticality) for n in range(count)]
        self.sent += count
        for result in self.run(self._send(requests, left, rpc, cancel_after)):  # type: ignore[attr-defined]
            assert isinstance(result, Answer | ServiceError) or result in (CANCELLED, None), result
            if isinstance(result, Answer):
                assert result.decision.explanation.endswith(".")
                assert result.decision.backend == result.attempts[-1].backend
                assert result.text or result.finish_reason is not FinishReason.STOP

    async def _send(
        self, requests: list[RouteRequest], left: float, rpc: str, cancel_after: float | None
    ) -> list[object]:
        began = clock()
        tasks = [asyncio.create_task(getattr(self, f"_{rpc}")(request, left)) for request in requests]
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            for task in tasks:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert clock() - began <= max(left, cancel_after or 0.0) + 1e-6
        return [CANCELLED if isinstance(result, asyncio.CancelledError) else result for result in results]

    async def _route(self, request: RouteRequest, left: float) -> Answer:
        return await self.router.route(request, seconds(left))

    async def _stream(self, request: RouteRequest, left: float) -> Answer | None:
        async with aclosing(self.router.stream(request, seconds(left))) as events:
            async for event in events:
                if isinstance(event, Answer):
                    return event
        return None

    async def _decide(self, request: RouteRequest, left: float) -> None:
        await self.router.decide(request, seconds(left))

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """No open call, no task, no money set aside; spent is the sum of the rows and within the budget."""
        if not hasattr(self, "router"):
            return
        assert [backend.open_calls for backend in self.kit.backends] == [0] * 6
        assert asyncio.all_tasks(self.runner.get_loop()) == set()
        spent = sum(record.cost_micros or 0 for record in self.kit.ledger.records)
        assert spent <= BUDGET
        assert f"{spent} micro-dollars spent today, 0 set aside" in repr(self.kit.budgets) or spent == 0
        assert "<Admission 0 of 8 in flight, 0 of" in repr(self.router._admission)
        assert self.kit.observer.of(Fault) == []
        names = [record.request_id for record in self.kit.ledger.records]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        """Closes the loop."""
        if hasattr(self, "runner"):
            self.runner.close()


TestFaults = FaultMachine.TestCase
TestFaults.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
