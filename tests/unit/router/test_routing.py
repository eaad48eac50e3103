"""The whole story on fakes: admitted, analysed, planned, dispatched, settled exactly once, however it ends."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from router.admission import AdmissionLimits
from router.analysis import AnalyzerTimings, Rung, RungFailed, SkipReason
from router.answer import Answer, AttemptOutcome, Usage
from router.budgets import TenantBudgets, Unlimited
from router.decision import Cause, Decision
from router.fakes import FakeBackend, FakeRung, Hang, Pause, a_request, an_analysis, failed
from router.observer import AttemptFinished, Decided, Fault, Refused, RungFinished, Settled, Stage
from router.purse import BudgetLimits
from router.request import Attribution, Criticality, Tier
from servicekit.errors import ResourceExhausted
from tests.support.router_kit import Kit, a_backend, now, seconds, three_tiers
from tests.support.virtual_time import run

S, M, L = Tier.SMALL, Tier.MEDIUM, Tier.LARGE


def route(kit: Kit, **fields: object) -> Answer:
    """Returns the answer of a request with a minute's time."""

    async def main() -> Answer:
        return await kit.router().route(a_request(**fields), seconds(60))

    return run(main())


def test_an_easy_prompt_is_answered_by_the_small_tier() -> None:
    """With all that explains it."""
    kit = Kit()
    answer = route(kit)
    assert (answer.request_id, answer.text, answer.decision.tier) == ("r-1", "hello", S)
    assert answer.decision.backend == "small-1"
    assert answer.cost.saved_micros is not None
    assert answer.cost.saved_micros > 0
    assert answer.cost.price_revision == "prices-1"


def test_with_every_rung_down_the_answer_comes_from_the_medium_tier() -> None:
    """And says so."""
    kit = Kit(rungs={Rung.SELF_HOSTED: FakeRung([RungFailed(SkipReason.UNAVAILABLE)])})
    decision = route(kit).decision
    assert (decision.tier, decision.cause, decision.analysis) == (M, Cause.DEFAULT, None)
    assert [skip.reason for skip in decision.skipped_rungs] == [SkipReason.UNAVAILABLE, SkipReason.DISABLED]


def test_timings_say_where_the_time_went() -> None:
    """The analyzer's own are passed on."""
    kit = Kit([a_backend(S, [Pause(1.0), "hi"])], rungs={Rung.SELF_HOSTED: FakeRung([Pause(0.05)])})
    timings = route(kit).timings
    assert timings.analysis == pytest.approx(0.05)
    assert timings.dispatch == pytest.approx(1.0)
    assert timings.total == pytest.approx(1.05)
    assert timings.time_to_first_token == pytest.approx(1.05)
    own = AnalyzerTimings(0.001, 0.002, 0.003)
    kit = Kit(rungs={Rung.SELF_HOSTED: FakeRung([an_analysis(timings=own)])})
    assert route(kit).timings.analyzer == own


def test_the_record_is_kept_before_the_answer_leaves() -> None:
    """With what refitting, replay and the bill need."""
    kit = Kit()
    answer = route(kit, attribution=Attribution("search", "faq", {"env": "test"}), session_id="s-1")
    (record,) = kit.ledger.records
    assert (record.rpc, record.status, record.tenant, record.team, record.feature) == (
        "Route",
        "OK",
        "acme",
        "search",
        "faq",
    )
    assert (record.labels, record.session_id, record.time) == ({"env": "test"}, "s-1", "2026-05-04T12:00:00+00:00")
    assert (record.decided_tier, record.tier, record.backend, record.cause) == (1, 1, "small-1", "QUALITY_TARGET")
    assert record.cost_micros == answer.cost.total_micros
    assert record.top_tier_micros == answer.cost.top_tier_micros
    assert record.analysis.success == (0.9, 0.92, 0.94)
    assert record.predicted_success == {"SMALL": 0.9, "MEDIUM": 0.92, "LARGE": 0.94}
    assert record.finish_reason == "STOP"


def test_a_session_does_not_go_down() -> None:
    """The second, easy prompt stays where the first, hard one went; a Decide sees it and changes nothing."""
    kit = Kit(rungs={Rung.SELF_HOSTED: FakeRung([an_analysis(0.1, 0.2, 0.9), an_analysis()])})

    async def main() -> list[Tier]:
        router = kit.router()
        tiers = [(await router.route(a_request(session_id="s"), seconds(60))).decision.tier]
        tiers.append((await router.decide(a_request(session_id="s"), seconds(60))).decision.tier)
        tiers.append((await router.decide(a_request(session_id="new"), seconds(60))).decision.tier)
        tiers.append((await router.route(a_request(session_id="s"), seconds(60))).decision.tier)
        return tiers

    assert run(main()) == [L, L, S, L]
    assert kit.sessions.tier("acme", "new") is None


def test_decide_decides_and_does_no_more() -> None:
    """Nothing is sent, nothing kept; only a paid analysis is billed."""

    async def main(kit: Kit) -> Decision:
        return (await kit.router().decide(a_request(), seconds(60))).decision

    free = Kit()
    assert run(main(free)).tier is S
    assert [backend.calls for backend in free.backends] == [[], [], []]
    assert free.ledger.records == []
    paid = Kit(rungs={Rung.CLOUD_TINY: FakeRung([an_analysis(cost_micros=7)], name=Rung.CLOUD_TINY)})
    run(main(paid))
    assert [(record.rpc, record.cost_micros) for record in paid.ledger.records] == [("Decide", 7)]


def test_what_an_analysis_costs_is_in_the_total() -> None:
    """Every attempt is billed, analysis included."""
    kit = Kit(rungs={Rung.CLOUD_TINY: FakeRung([an_analysis(cost_micros=7)], name=Rung.CLOUD_TINY)})
    cost = route(kit).cost
    assert cost.analysis_micros == 7
    assert cost.total_micros == 7 + (kit.ledger.records[0].attempts[0].cost_micros or 0)


async def cancelled_after(length: float, kit: Kit, call: Callable[[], object]) -> None:
    """Cancels a call after a while, and sees that it ends."""
    task = asyncio.ensure_future(call())  # type: ignore[arg-type]
    await asyncio.sleep(length)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [backend.open_calls for backend in kit.backends] == [0] * len(kit.backends)


def test_a_cancelled_caller_is_recorded_and_billed() -> None:
    """The backend's call is closed, what it had read and written is paid."""
    kit = Kit([a_backend(S, ["some text", Hang()])])

    async def main() -> None:
        router = kit.router()
        await cancelled_after(1.0, kit, lambda: router.route(a_request(), seconds(60)))

    run(main())
    (record,) = kit.ledger.records
    assert record.status == "CANCELLED"
    assert [attempt.outcome for attempt in record.attempts] == ["CANCELLED"]
    assert record.attempts[0].output_tokens > 0
    assert (record.cost_micros or 0) > 0


def test_a_caller_cancelled_while_analysed_is_recorded_too() -> None:
    """Once."""
    kit = Kit(rungs={Rung.SELF_HOSTED: FakeRung([Hang()])})

    async def main() -> None:
        router = kit.router()
        await cancelled_after(0.05, kit, lambda: router.route(a_request(), seconds(60)))

    run(main())
    assert [(record.status, record.attempts) for record in kit.ledger.records] == [("CANCELLED", ())]


def test_a_stream_that_is_closed_early_is_settled_at_once() -> None:
    """The caller hung up between two pieces."""
    kit = Kit([a_backend(S, ["one", "two", "three"])])

    async def main() -> None:
        async with aclosing(kit.router().stream(a_request(), seconds(60))) as events:
            async for event in events:
                if event == "one":
                    break
        assert kit.backends[0].open_calls == 0
        assert [record.status for record in kit.ledger.records] == ["CANCELLED"]

    run(main())


def test_a_ledger_that_fails_costs_a_row_not_an_answer() -> None:
    """And is told."""
    kit = Kit()
    kit.ledger.failure = OSError("disk full")
    assert route(kit).text == "hello"
    assert [fact.kept for fact in kit.observer.of(Settled)] == [False]
    assert [fact.where for fact in kit.observer.of(Fault)] == ["ledger"]


def test_an_observer_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Every listening method raises, and the stage contexts too."""
    kit = Kit()

    def fail(*_: object) -> None:
        raise RuntimeError("listener")

    for name in ("rung_finished", "decided", "first_token", "attempt_finished", "settled", "stage"):
        setattr(kit.observer, name, fail)
    assert route(kit).text == "hello"
    assert "an observer failed" in caplog.text


def test_an_observers_stages_enclose_the_work_and_fail_quietly() -> None:
    """A span that can't be closed is not the request's problem."""
    kit = Kit()
    entered: list[Stage] = []

    class Context:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> bool:
            raise RuntimeError("listener")

    def stage(stage: Stage, _request: object) -> Context:
        entered.append(stage)
        return Context()

    kit.observer.stage = stage  # type: ignore[method-assign,assignment]
    assert route(kit).text == "hello"
    assert entered == [Stage.ANALYSIS, Stage.PLAN, Stage.SETTLE]


def test_the_facts_come_in_the_order_of_the_story() -> None:
    """What spans are made of."""
    kit = Kit()
    route(kit)
    kinds = [type(fact) for fact in kit.observer.facts if not isinstance(fact, RungFinished)]
    assert kinds[0] is Decided
    assert kinds[-2:] == [AttemptFinished, Settled]


def test_an_overloaded_router_refuses_the_least_critical_at_once() -> None:
    """With a time to come again; what is let in is not recorded twice."""
    kit = Kit([a_backend(S, [Pause(5.0), "hi"])], admission_limits=AdmissionLimits(concurrent=10))

    async def main() -> dict[Criticality, int]:
        router = kit.router()
        waits: list[float] = []
        served = dict.fromkeys(Criticality, 0)

        async def one(criticality: Criticality) -> None:
            try:
                await router.route(a_request(criticality=criticality), seconds(60))
            except ResourceExhausted as error:
                waits.append(error.retry_after_seconds or 0.0)
            else:
                served[criticality] += 1

        await asyncio.gather(*(one(criticality) for criticality in reversed(Criticality) for _ in range(10)))
        assert min(waits) > 0
        return served

    served = run(main())
    assert served == {Criticality.SHEDDABLE: 7, Criticality.STANDARD: 2, Criticality.CRITICAL: 1}
    assert len(kit.observer.of(Refused)) == 20
    assert len(kit.ledger.records) == 10


def budgets(**limits: object) -> TenantBudgets:
    """Returns budgets of acme."""
    return TenantBudgets({"acme": BudgetLimits(**limits)}, now)  # type: ignore[arg-type]


def test_a_budget_moves_a_request_to_a_cheaper_tier_then_refuses() -> None:
    """QuotaFailure says which, spent and limit."""
    hard = {Rung.SELF_HOSTED: FakeRung([an_analysis(0.1, 0.2, 0.9)])}
    assert route(Kit(rungs=hard, budgets=budgets(micros_per_day=10_000))).decision.cause is Cause.BUDGET
    with pytest.raises(ResourceExhausted) as caught:
        route(Kit(rungs=hard, budgets=budgets(micros_per_day=100)))
    assert caught.value.quota is not None
    assert caught.value.quota.subject == "daily budget of tenant acme"
    assert (caught.value.quota.spent_micros, caught.value.quota.limit_micros) == (0, 100)
    assert caught.value.quota.reset_seconds == 12 * 3600


def test_a_thousand_at_once_overspend_by_nothing() -> None:
    """Each sets its worst case aside before it goes; spent is the sum of the rows to the micro-dollar."""
    purse_budgets = budgets(micros_per_day=25_000)
    kit = Kit(three_tiers(), budgets=purse_budgets, admission_limits=AdmissionLimits(concurrent=2000))
    kit.backends[0].script = [[Pause(1.0), "hello"]]

    async def main() -> list[object]:
        router = kit.router()
        calls = [router.route(a_request(request_id=str(number)), seconds(60)) for number in range(1000)]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = run(main())
    spent = sum(record.cost_micros or 0 for record in kit.ledger.records)
    assert spent <= 25_000
    assert any(isinstance(result, Answer) for result in results)
    refused = [result for result in results if isinstance(result, ResourceExhausted)]
    assert len(refused) > 900
    assert f"{spent} micro-dollars spent today, 0 set aside" in repr(purse_budgets)


def test_a_move_up_is_paid_for_before_it_is_made() -> None:
    """A budget that pays for the small tier alone keeps the request there, failure or not."""
    kit = Kit([a_backend(S, failed(AttemptOutcome.UNAVAILABLE)), a_backend(M)], budgets=budgets(micros_per_day=3000))
    with pytest.raises(Exception, match="Every allowed backend failed: small-1 unavailable"):
        route(kit)


def test_each_attempt_is_set_aside_on_top_of_what_was_spent() -> None:
    """Analysis, the attempt that failed, and the worst that the next one may cost."""
    kit = Kit(
        [a_backend(S, failed(AttemptOutcome.CUT_OFF, usage=Usage(100, 50)), max_output_tokens=500), a_backend(M)],
        rungs={Rung.CLOUD_TINY: FakeRung([an_analysis(cost_micros=7, prompt_token_count=10)], name=Rung.CLOUD_TINY)},
    )
    covered: list[tuple[Tier, int | None]] = []

    class Reservation(Unlimited):
        def cover(self, tier: Tier, micros: int | None) -> bool:
            covered.append((tier, micros))
            return True

    kit.budgets.open = lambda _tenant: Reservation()  # type: ignore[method-assign]
    route(kit)
    assert covered == [(S, 7 + 10 + 1000), (M, 7 + 200 + 30 + 6144)]


def test_the_dearest_backend_of_a_tier_is_its_estimate() -> None:
    """Sooner too much than too little."""
    dear = FakeBackend(name="dear", tier=S, model="large-model")
    costs = [each.estimated_cost_micros for each in route(Kit([a_backend(S), dear, a_backend(L)])).decision.considered]
    assert costs[0] == costs[1]


def test_without_money_the_paid_analysis_is_skipped() -> None:
    """The reason is in the decision; the answer is refused or cheap by the plan."""
    rung = FakeRung([an_analysis(cost_micros=7)], name=Rung.CLOUD_TINY)
    kit = Kit(rungs={Rung.CLOUD_TINY: rung}, budgets=budgets(micros_per_day=0))
    with pytest.raises(ResourceExhausted):
        route(kit)
    assert rung.deadlines == []
