"""Dispatch: one table of failures, one state machine for whole answers and streams, every call billed."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.answer import Answer, AttemptOutcome, BackendFailed, Chunk, FinishReason, Usage
from router.breaker import State
from router.decision import Decision
from router.fakes import FakeBackend, Hang, Pause, a_request, an_analysis, failed
from router.itinerary import CONSEQUENCES, Onward, tier_order
from router.observer import Fault, FirstToken
from router.request import Constraints, Generation, RouteRequest, Tier
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from tests.support.router_kit import Kit, a_backend, seconds
from tests.support.virtual_time import clock, run

S, M, L = Tier.SMALL, Tier.MEDIUM, Tier.LARGE
O = AttemptOutcome  # noqa: E741 - a table reads better with short names


def whole(kit: Kit, request: RouteRequest | None = None, left: float = 60.0) -> Answer | ServiceError:
    """Returns the answer or the error of a unary call."""

    async def main() -> Answer | ServiceError:
        try:
            return await kit.router().route(request or a_request(), seconds(left))
        except ServiceError as error:
            return error

    return run(main())


def streamed(
    kit: Kit, request: RouteRequest | None = None, left: float = 60.0
) -> tuple[list[str], Answer | ServiceError | None]:
    """Returns the pieces of a stream, and its answer or error."""

    async def main() -> tuple[list[str], Answer | ServiceError | None]:
        texts: list[str] = []
        end: Answer | ServiceError | None = None
        try:
            async for event in kit.router().stream(request or a_request(), seconds(left)):
                if isinstance(event, str):
                    texts.append(event)
                elif isinstance(event, Answer):
                    end = event
        except ServiceError as error:
            end = error
        return texts, end

    return run(main())


def path(result: object) -> list[tuple[str, AttemptOutcome]]:
    """Returns which backends were called and how that ended."""
    assert isinstance(result, Answer), result
    return [(attempt.backend, attempt.outcome) for attempt in result.attempts]


def outcomes(kit: Kit) -> list[AttemptOutcome]:
    """Returns how the attempts of the only ledger row ended."""
    (record,) = kit.ledger.records
    return [AttemptOutcome(attempt.outcome) for attempt in record.attempts]


TRANSIENT = [O.UNAUTHENTICATED, O.UNAVAILABLE, O.RATE_LIMITED, O.TIMEOUT, O.CUT_OFF, O.BACKEND_ERROR]


def test_the_table_says_what_follows_from_every_outcome() -> None:
    """Nothing is left to chance."""
    assert set(CONSEQUENCES) == set(AttemptOutcome)


@pytest.mark.parametrize("outcome", TRANSIENT)
@pytest.mark.parametrize("how", [whole, lambda kit: streamed(kit)[1]])
def test_a_transient_failure_goes_to_the_sibling_then_up(outcome: AttemptOutcome, how: object) -> None:
    """Before the first byte it makes no difference to the caller."""
    kit = Kit(
        [a_backend(S, failed(outcome)), a_backend(S, failed(outcome), name="small-2"), a_backend(M), a_backend(L)]
    )
    answer = how(kit)  # type: ignore[operator]
    *fails, last = path(answer)
    assert sorted(fails) == [("small-1", outcome), ("small-2", outcome)]
    assert last == ("medium-1", O.ANSWERED)
    assert answer.decision.tier is M
    assert answer.decision.backend == "medium-1"
    assert "Moved to MEDIUM" in answer.decision.explanation


@pytest.mark.parametrize(
    ("outcome", "reason"), [(O.BAD_REQUEST, "REFUSED_BY_BACKEND"), (O.CONTENT_FILTERED, "CONTENT_FILTERED")]
)
def test_what_would_be_the_same_everywhere_ends_it(outcome: AttemptOutcome, reason: str) -> None:
    """A typed error, and no second bill."""
    kit = Kit([a_backend(S, failed(outcome)), a_backend(M)])
    error = whole(kit)
    assert isinstance(error, InvalidArgument)
    assert error.reason == reason
    assert outcomes(kit) == [outcome]


def test_too_long_a_context_goes_to_a_larger_window_only() -> None:
    """The sibling with as small a window is passed by."""
    kit = Kit(
        [
            a_backend(S, failed(O.CONTEXT_TOO_LONG), context_window=4096),
            a_backend(M, context_window=4096),
            a_backend(L, context_window=32768),
        ]
    )
    assert path(whole(kit)) == [("small-1", O.CONTEXT_TOO_LONG), ("large-1", O.ANSWERED)]
    alone = Kit([a_backend(S, failed(O.CONTEXT_TOO_LONG)), a_backend(M)])
    assert isinstance(whole(alone), FailedPrecondition)


def test_only_when_nothing_above_is_left_it_goes_down() -> None:
    """And within the constraints."""
    hard = {"script": [an_analysis(0.1, 0.5, 0.9)]}
    down = failed(O.UNAVAILABLE)
    kit = Kit([a_backend(S), a_backend(M), a_backend(L, down)])
    kit.rungs[next(iter(kit.rungs))].script = hard["script"]
    assert path(whole(kit)) == [("large-1", O.UNAVAILABLE), ("medium-1", O.ANSWERED)]
    kit = Kit([a_backend(S), a_backend(M, down), a_backend(L, down)])
    kit.rungs[next(iter(kit.rungs))].script = hard["script"]
    error = whole(kit, a_request(constraints=Constraints(min_tier=M)))
    assert isinstance(error, Unavailable)
    assert error.message == "Every allowed backend failed: large-1 unavailable, medium-1 unavailable."


@pytest.mark.parametrize(
    ("chosen", "allowed", "order"),
    [
        (S, [S, M, L], (S, M, L)),
        (M, [S, M, L], (M, L, S)),
        (L, [L, S, M], (L, M, S)),
        (M, [M], (M,)),
        (L, [S, L], (L, S)),
    ],
)
def test_tiers_are_tried_up_then_down(chosen: Tier, allowed: Sequence[Tier], order: tuple[Tier, ...]) -> None:
    """The nearest first, each way."""
    assert tier_order(chosen, allowed) == order


def test_a_stream_that_is_cut_after_its_first_byte_ends_there_and_is_billed() -> None:
    """Never a switch: the caller has the first half already."""
    kit = Kit([a_backend(S, ["one ", "two", failed(O.CUT_OFF)]), a_backend(M)])
    texts, answer = streamed(kit)
    assert texts == ["one ", "two"]
    assert path(answer) == [("small-1", O.CUT_OFF)]
    assert isinstance(answer, Answer)
    assert answer.finish_reason is FinishReason.ERROR
    assert answer.usage.estimated
    assert answer.usage.output > 0
    assert answer.cost.total_micros == answer.attempts[0].cost_micros
    assert answer.cost.estimated


def test_a_whole_answer_that_is_cut_is_begun_anew_elsewhere_and_both_are_billed() -> None:
    """Nobody has seen the first half."""
    kit = Kit([a_backend(S, ["one ", Usage(5, 5), failed(O.CUT_OFF)]), a_backend(M, ["all of it", Usage(10, 10)])])
    kit.backends[0].script = [["one ", failed(O.CUT_OFF, usage=Usage(5, 5))]]
    answer = whole(kit)
    assert isinstance(answer, Answer)
    assert answer.text == "all of it"
    assert [attempt.cost_micros for attempt in answer.attempts] == [15, 90]
    assert answer.cost.total_micros == 105
    assert answer.usage == Usage(10, 10)


def test_an_end_without_a_finish_reason_is_a_cut() -> None:
    """The connection ended well, the answer did not."""
    kit = Kit([a_backend(S, [Chunk("half")]), a_backend(M)])
    assert path(whole(kit)) == [("small-1", O.CUT_OFF), ("medium-1", O.ANSWERED)]
    texts, answer = streamed(Kit([a_backend(S, [Chunk("half")]), a_backend(M)]))
    assert texts == ["half"]
    assert isinstance(answer, Answer)
    assert answer.finish_reason is FinishReason.ERROR


def test_a_filter_that_cuts_an_answer_is_no_fault() -> None:
    """The text so far is the answer, and says why it ends."""
    kit = Kit([a_backend(S, ["so far", Chunk(finish_reason=FinishReason.CONTENT_FILTER)]), a_backend(M)])
    answer = whole(kit)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason) == ("so far", FinishReason.CONTENT_FILTER)
    texts, end = streamed(Kit([a_backend(S, ["so far", failed(O.CONTENT_FILTERED)])]))
    assert isinstance(end, Answer)
    assert (texts, end.finish_reason) == (["so far"], FinishReason.CONTENT_FILTER)


def test_a_backend_has_half_of_the_time_for_its_first_token_while_others_are_left() -> None:
    """The last one has all of the rest."""
    kit = Kit([a_backend(S, Hang()), a_backend(M, [Pause(29.0), "late but there"])])
    answer = whole(kit, left=60.0)
    assert path(answer) == [("small-1", O.TIMEOUT), ("medium-1", O.ANSWERED)]
    assert isinstance(answer, Answer)
    assert answer.attempts[0].duration == pytest.approx(30.0, rel=0.01)


def test_a_backend_that_does_not_fit_leaves_the_others_all_the_time() -> None:
    """It is not one to go to next."""
    kit = Kit([a_backend(S, [Pause(50.0), "late but there"]), a_backend(M, context_window=100)])
    assert path(whole(kit, left=60.0)) == [("small-1", O.ANSWERED)]


@pytest.mark.parametrize("left", [1e6, 1e15, float("inf")])
def test_a_deadline_may_be_huge(left: float) -> None:
    """Nothing overflows."""
    assert path(whole(Kit([a_backend(S, [Pause(50.0), "hi"]), a_backend(M)]), left=left)) == [("small-1", O.ANSWERED)]


def test_a_slow_answer_is_not_a_late_one() -> None:
    """Once it has begun it may take all the time there is."""
    kit = Kit([a_backend(S, ["begun", Pause(50.0), "done"]), a_backend(M)])
    assert path(whole(kit, left=60.0)) == [("small-1", O.ANSWERED)]


def test_the_deadline_ends_it_with_a_typed_error() -> None:
    """Everything hangs."""
    kit = Kit([a_backend(S, Hang()), a_backend(M, Hang()), a_backend(L, Hang())])

    async def main() -> float:
        with pytest.raises(DeadlineExceeded):
            await kit.router().route(a_request(), seconds(8.0))
        return clock()

    assert run(main()) == pytest.approx(8.0)
    assert outcomes(kit) == [O.TIMEOUT] * 3


def test_a_stream_that_stalls_until_the_deadline_ends_with_error() -> None:
    """What came is billed."""
    texts, answer = streamed(Kit([a_backend(S, ["one", Hang()])]), left=5.0)
    assert texts == ["one"]
    assert path(answer) == [("small-1", O.CUT_OFF)]


@pytest.mark.parametrize("left", [-1.0, 0.0])
def test_a_deadline_that_is_past_asks_nobody(left: float) -> None:
    """Neither rung nor backend."""
    kit = Kit()
    assert isinstance(whole(kit, left=left), DeadlineExceeded)
    assert kit.backends[0].calls == []
    assert kit.rungs[next(iter(kit.rungs))].deadlines == []


def test_rate_limited_everywhere_says_when_to_come_again() -> None:
    """The soonest of all."""
    kit = Kit(
        [
            a_backend(S, failed(O.RATE_LIMITED, retry_after_seconds=9.0)),
            a_backend(M, failed(O.RATE_LIMITED, retry_after_seconds=4.0)),
        ]
    )
    error = whole(kit)
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after_seconds == 4.0


def test_a_rate_limited_backend_is_left_alone_as_long_as_it_asks() -> None:
    """The next request goes to its sibling at once."""
    kit = Kit([a_backend(S, failed(O.RATE_LIMITED, retry_after_seconds=30.0), "back"), a_backend(M)])

    async def main() -> list[list[str]]:
        router, tried = kit.router(), []
        for wait in (0.0, 29.0, 2.0):
            await asyncio.sleep(wait)
            answer = await router.route(a_request(), seconds(60))
            tried.append([attempt.backend for attempt in answer.attempts])
        return tried

    assert run(main()) == [["small-1", "medium-1"], ["medium-1"], ["small-1"]]


def test_a_dead_backend_is_left_alone_and_found_again() -> None:
    """Its breaker opens; a real request a second probes it."""
    dead = [failed(O.UNAVAILABLE)] * 12
    kit = Kit([a_backend(S, *dead, "back"), a_backend(M)])

    async def main() -> list[str]:
        router, answered = kit.router(), []
        for _ in range(100):
            await asyncio.sleep(0.1)
            answered.append((await router.route(a_request(), seconds(60))).attempts[-1].backend)
        return answered

    answered = run(main())
    assert len(kit.backends[0].calls) < 40
    assert answered[:70] == ["medium-1"] * 70
    assert answered[-5:] == ["small-1"] * 5


def test_callers_in_a_hurry_open_no_breaker_of_a_backend() -> None:
    """One second for the first token is not a fair trial."""
    kit = Kit([a_backend(S, Hang()), a_backend(M)])

    async def main() -> None:
        router = kit.router()
        for _ in range(20):
            await router.route(a_request(), seconds(2.0))

    run(main())
    assert kit.fleet.members[0].breaker.state is State.CLOSED


def test_an_adapters_bug_costs_an_attempt_not_an_answer() -> None:
    """And is told."""
    kit = Kit([a_backend(S, ZeroDivisionError()), a_backend(M)])
    assert path(whole(kit)) == [("small-1", O.BACKEND_ERROR), ("medium-1", O.ANSWERED)]
    assert [type(fault.error) for fault in kit.observer.of(Fault)] == [ZeroDivisionError]


def test_a_refused_prompt_costs_nothing_a_read_one_does() -> None:
    """What the backend does not tell is estimated where it has worked."""
    refused = Kit([a_backend(S, failed(O.UNAVAILABLE)), a_backend(M)])
    whole(refused)
    assert refused.ledger.records[0].attempts[0].cost_micros == 0
    late = Kit([a_backend(S, Hang()), a_backend(M)])
    whole(late)
    first = late.ledger.records[0].attempts[0]
    assert first.estimated
    assert first.cost_micros is not None
    assert first.cost_micros > 0


def test_a_price_that_is_not_known_makes_the_cost_unknown() -> None:
    """Never 0."""
    strange = FakeBackend(["hi"], name="strange", tier=S, model="strange-model")
    answer = whole(Kit([strange, a_backend(M)]))
    assert isinstance(answer, Answer)
    assert answer.attempts[0].cost_micros is None
    assert answer.cost.total_micros is None
    assert answer.cost.top_tier_micros is not None
    assert answer.cost.saved_micros is None


def test_the_answer_is_as_long_as_asked_and_fits_the_window() -> None:
    """The guard stands before the call."""
    kit = Kit([a_backend(S, context_window=512, max_output_tokens=400), a_backend(M, context_window=8192)])
    whole(kit, a_request("x " * 200))
    whole(kit, a_request("x " * 2000))
    whole(kit, a_request(generation=Generation(max_output_tokens=7)))
    (first, short), (long,) = kit.backends[0].calls, kit.backends[1].calls
    assert 256 <= first[1] < 400
    assert short[1] == 7
    assert long[1] == 1024


def test_the_first_token_is_told_and_timed_from_arrival() -> None:
    """Failed attempts before it count."""
    kit = Kit([a_backend(S, [Pause(2.0), failed(O.UNAVAILABLE)]), a_backend(M, [Pause(1.0), "hi", Pause(5.0), "ho"])])
    answer = whole(kit)
    assert isinstance(answer, Answer)
    assert answer.timings.time_to_first_token == pytest.approx(3.0)
    assert answer.timings.dispatch == pytest.approx(8.0)
    assert answer.timings.total == pytest.approx(8.0)
    assert [fact.seconds for fact in kit.observer.of(FirstToken)] == [pytest.approx(1.0)]


def test_an_empty_answer_is_an_answer() -> None:
    """A stop sequence may come at once."""
    answer = whole(Kit([a_backend(S, Usage(5, 0))]))
    assert isinstance(answer, Answer)
    assert (answer.text, answer.finish_reason) == ("", FinishReason.STOP)


ends = st.one_of(
    st.sampled_from([outcome for outcome in AttemptOutcome if outcome not in (O.ANSWERED, O.CANCELLED)]).map(failed),
    st.just(Hang()),
    st.just(Chunk("cut")),
    st.just(Usage(3, 4)),
    st.just("text"),
    st.just(RuntimeError("bug")),
)
scripts = st.lists(st.one_of(st.just("piece "), st.floats(0.0, 40.0).map(Pause)), max_size=3).flatmap(
    lambda steps: ends.map(lambda end: [*steps, end])
)
fleets = st.lists(st.tuples(st.sampled_from(Tier), scripts), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(fleets, st.sampled_from(["Route", "StreamRoute"]), st.floats(0.01, 120.0))
def test_whatever_backends_do_a_request_ends_once_in_time_and_is_billed(
    fleet: list[tuple[Tier, list[object]]],
    rpc: str,
    left: float,
) -> None:
    """Answered or a typed error before the deadline, one row, cost = sum of attempts, no call left open."""
    backends = [a_backend(tier, script, name=f"{tier.name}-{number}") for number, (tier, script) in enumerate(fleet)]
    kit = Kit(backends)
    if rpc == "StreamRoute":
        texts, result = streamed(kit, left=left)
    else:
        result = whole(kit, left=left)
        texts = [result.text] if isinstance(result, Answer) and result.text else []
    (record,) = kit.ledger.records
    assert [backend.open_calls for backend in backends] == [0] * len(backends)
    assert len(record.attempts) == sum(len(backend.calls) for backend in backends)
    assert len({attempt.backend for attempt in record.attempts}) == len(record.attempts)
    assert record.cost_micros == sum(attempt.cost_micros or 0 for attempt in record.attempts)
    assert (record.timings["total"] or 0.0) <= left + 1e-6
    if isinstance(result, Answer):
        assert (record.status, record.rpc) == ("OK", rpc)
        assert "".join(texts) == result.text
        assert result.finish_reason is not FinishReason.ERROR or rpc == "StreamRoute"
        assert result.decision.backend == record.backend
    else:
        assert texts == []
        assert isinstance(result, ServiceError)
        assert record.status == result.code


def test_decisions_come_before_texts() -> None:
    """The first event of a stream says why; the last one is the answer."""
    kit = Kit()

    async def main() -> list[type]:
        return [type(event) async for event in kit.router().stream(a_request(), seconds(60))]

    assert run(main()) == [Decision, str, Answer]


def test_a_failure_without_a_detail_names_its_outcome() -> None:
    """What logs show."""
    assert str(BackendFailed(O.TIMEOUT)) == "TIMEOUT"
    assert CONSEQUENCES[O.CONTEXT_TOO_LONG].onward is Onward.LARGER_WINDOW
