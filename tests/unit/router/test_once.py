"""A request named by its caller is answered once: repeats join, get the kept answer, or are told what it cost."""

import asyncio
from dataclasses import replace

import pytest

from router.answer import Answer, AttemptOutcome
from router.fakes import ManualClock, Pause, a_request, failed
from router.once import FirstCall, OnceRouter
from router.replies import Replies, ReplyLimits, body_digest
from router.request import Attribution, Constraints, Criticality, Generation, Tier
from servicekit.errors import AlreadyExists, DeadlineExceeded, Unavailable
from tests.support.router_kit import Kit, a_backend, seconds
from tests.support.virtual_time import clock, run


def slow_kit() -> Kit:
    """Returns a kit whose only backend takes a second."""
    return Kit([a_backend(Tier.SMALL, [Pause(1.0), "hello"])])


def once(kit: Kit, limits: ReplyLimits | None = None, earlier: object = None) -> OnceRouter:
    """Returns the kit's router behind the memory."""
    return OnceRouter(kit.router(), Replies(limits, clock), earlier)  # type: ignore[arg-type]


def test_twenty_at_once_are_one_call_one_row_and_twenty_equal_answers() -> None:
    """They join the first."""
    kit = slow_kit()

    async def main() -> list[Answer]:
        router = once(kit)
        return await asyncio.gather(*(router.route(a_request(), seconds(60)) for _ in range(20)))

    answers = run(main())
    assert all(answer == answers[0] for answer in answers)
    assert len(kit.backends[0].calls) == len(kit.ledger.records) == 1


def test_a_repeat_gets_the_kept_answer_for_ten_minutes() -> None:
    """Then the same name is a new request."""
    kit = slow_kit()

    async def main() -> list[int]:
        router, calls = once(kit), []
        for wait in (0, 590, 20):
            await asyncio.sleep(wait)
            await router.route(a_request(), seconds(60))
            calls.append(len(kit.backends[0].calls))
        return calls

    assert run(main()) == [1, 1, 2]


def test_another_body_is_refused_with_the_first_calls_cost() -> None:
    """The name is taken."""
    kit = slow_kit()

    async def main() -> Answer:
        router = once(kit)
        first = await router.route(a_request(), seconds(60))
        with pytest.raises(AlreadyExists, match=f"another body. It cost {first.cost.total_micros} micro-dollars"):
            await router.route(a_request("Something else"), seconds(60))
        return first

    run(main())


def test_tenants_and_unnamed_requests_never_meet() -> None:
    """The same name of another tenant is another request; a generated name can't come twice."""
    kit = slow_kit()

    async def main() -> None:
        router = once(kit)
        await router.route(a_request(), seconds(60))
        await router.route(a_request(tenant="other"), seconds(60))
        for _ in range(2):
            await router.route(a_request(request_id="g", named_by_caller=False), seconds(60))

    run(main())
    assert len(kit.backends[0].calls) == 4


def test_a_failure_is_not_kept() -> None:
    """The same request may be made again; all that had joined get the error."""
    kit = Kit([a_backend(Tier.SMALL, [Pause(1.0), failed(AttemptOutcome.UNAVAILABLE)], "hello")])

    async def main() -> tuple[list[object], Answer]:
        router = once(kit)
        both = [router.route(a_request(), seconds(60)) for _ in range(2)]
        return await asyncio.gather(*both, return_exceptions=True), await router.route(a_request(), seconds(60))

    errors, answer = run(main())
    assert [type(error) for error in errors] == [Unavailable, Unavailable]
    assert answer.text == "hello"


def test_the_call_goes_on_while_anyone_waits_and_ends_with_the_last() -> None:
    """The first caller's going away takes no answer from the second; all gone, it is cancelled and settled."""
    kit = slow_kit()

    async def main() -> Answer:
        router = once(kit)
        first, second = (asyncio.create_task(router.route(a_request(), seconds(60))) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        answer = await second
        third = asyncio.create_task(router.route(a_request(request_id="r-2"), seconds(60)))
        await asyncio.sleep(0.5)
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        assert kit.backends[0].open_calls == 0
        return answer

    assert run(main()).text == "hello"
    assert [record.status for record in kit.ledger.records] == ["OK", "CANCELLED"]


def test_who_comes_while_a_call_is_being_cancelled_begins_a_new_one() -> None:
    """Nobody joins a call that is on its way out."""
    kit = slow_kit()

    async def main() -> Answer:
        router = once(kit)
        first = asyncio.create_task(router.route(a_request(), seconds(60)))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(0)
        return await router.route(a_request(), seconds(60))

    assert run(main()).text == "hello"
    assert len(kit.backends[0].calls) == 2


def test_a_repeat_waits_no_longer_than_its_own_deadline() -> None:
    """The call itself goes on."""
    kit = slow_kit()

    async def main() -> Answer:
        router = once(kit)
        first = asyncio.create_task(router.route(a_request(), seconds(60)))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded):
            await router.route(a_request(), seconds(0.2))
        return await first

    assert run(main()).text == "hello"


def test_a_stream_can_not_be_repeated() -> None:
    """While it runs and afterwards, by whatever call."""
    kit = slow_kit()

    async def main() -> list[str]:
        router, messages = once(kit), []
        events = router.stream(a_request(), seconds(60))
        await anext(events)
        for ended in (False, True):
            if ended:
                async for _ in events:
                    pass
            with pytest.raises(AlreadyExists) as caught:
                await anext(router.stream(a_request(), seconds(60)))
            messages.append(caught.value.message)
            with pytest.raises(AlreadyExists):
                await router.route(a_request(), seconds(60))
        return messages

    under_way, ended = run(main())
    assert under_way == "The request id was used before. It is still under way."
    assert ended.startswith("The request id was used before. It cost ")
    assert len(kit.backends[0].calls) == 1


def test_a_stream_that_came_to_nothing_may_be_tried_again() -> None:
    """Refused before its first event."""
    kit = slow_kit()

    async def main() -> None:
        router = once(kit)
        with pytest.raises(DeadlineExceeded):
            await anext(router.stream(a_request(), seconds(0)))
        await anext(stream := router.stream(a_request(), seconds(60)))
        await stream.aclose()

    run(main())


def test_what_the_ledger_knows_is_refused_and_a_ledger_that_is_down_stops_nobody() -> None:
    """Another router has answered it, or this one before a restart."""
    kit = slow_kit()

    async def known(_tenant: str, _request_id: str) -> FirstCall:
        return FirstCall(42)

    async def down(_tenant: str, _request_id: str) -> FirstCall:
        raise OSError

    async def main() -> Answer:
        with pytest.raises(AlreadyExists, match="It cost 42 micro-dollars"):
            await once(kit, earlier=known).route(a_request(), seconds(60))
        with pytest.raises(AlreadyExists):
            await anext(once(kit, earlier=known).stream(a_request(), seconds(60)))
        return await once(kit, earlier=down).route(a_request(), seconds(60))

    assert run(main()).text == "hello"


def test_answers_are_bounded_in_bytes_and_the_oldest_leave_their_cost() -> None:
    """No answer, no second bill: the caller is told."""
    kit = Kit([a_backend(Tier.SMALL, "x" * 10_000)])

    async def main() -> None:
        router = once(kit, ReplyLimits(bytes_max=30_000))
        for number in range(4):
            await router.route(a_request(request_id=str(number)), seconds(60))
        await router.route(a_request(request_id="3"), seconds(60))
        with pytest.raises(AlreadyExists, match="its answer is not kept"):
            await router.route(a_request(request_id="0"), seconds(60))
        assert "bytes of answers" in repr(router.replies)

    run(main())
    assert len(kit.backends[0].calls) == 4


def test_names_are_bounded_too() -> None:
    """The oldest are forgotten."""
    memory, moment = Replies(ReplyLimits(count_max=2), now := ManualClock()), a_request()
    for number in range(3):
        memory.end(memory.begin(replace(moment, request_id=str(number))), 1)
        now.advance(1)
    assert memory.find(replace(moment, request_id="0")) is None
    assert memory.find(replace(moment, request_id="2")) is not None


def test_decide_is_passed_through() -> None:
    """A decision is as good the second time."""

    async def main() -> int:
        router = once(slow_kit())
        return len({(await router.decide(a_request(), seconds(60))).decision.tier for _ in range(2)})

    assert run(main()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"generation": Generation(temperature=0.5)},
        {"generation": Generation(json_schema="{}")},
        {"constraints": Constraints(min_tier=Tier.LARGE)},
        {"attribution": Attribution("team")},
        {"attribution": Attribution(labels={"a": "b"})},
        {"criticality": Criticality.CRITICAL},
        {"session_id": "s"},
        {"messages": a_request("other").messages},
        {"messages": a_request().messages * 2},
    ],
)
def test_every_part_of_the_body_counts(change: dict[str, object]) -> None:
    """But not the request's name."""
    assert body_digest(replace(a_request(), **change)) != body_digest(a_request())  # type: ignore[arg-type]
    assert body_digest(replace(a_request(), request_id="other")) == body_digest(a_request())


def test_any_text_has_a_digest() -> None:
    """Lone surrogates too."""
    assert body_digest(a_request("\ud800")) != body_digest(a_request("\udfff"))
