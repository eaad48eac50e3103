"""Every fault of a tier and of the cloud, for whole answers and streams: the next step, in time, and the right bill."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.router.v1 import router_pb2

from servicekit.status import received_reason
from tests.support.fake_analyzer import FakeAnalyzer, refusal
from tests.support.fake_openai import FakeOpenAI, Reply, cut_inside_a_character, html, status
from tests.support.running_router import Running, asking, configuration, running_router, said

SECONDS = 6.0
SMALL_BILL, MEDIUM_BILL = 15, 150
ANSWER = Reply(("Four", "."))
OUTCOME = "ATTEMPT_OUTCOME_"
NOTHING_SAID: dict[str, tuple[Reply, str]] = {
    "wrong key": (status(401), "UNAUTHENTICATED"),
    "forbidden": (status(403), "UNAUTHENTICATED"),
    "unknown model": (status(404), "BACKEND_ERROR"),
    "rate limited": (status(429, retry_after=30), "RATE_LIMITED"),
    "broken": (status(500), "BACKEND_ERROR"),
    "away": (status(503), "UNAVAILABLE"),
    "sign-in page": (html(), "BACKEND_ERROR"),
    "gateway's page": (html(502), "UNAVAILABLE"),
    "no event": (Reply(body=b"", headers={"content-type": "text/event-stream"}), "BACKEND_ERROR"),
    "nonsense": (Reply(body=b"data: {nonsense\n\n"), "BACKEND_ERROR"),
    "silent": (Reply(first_token_after=60), "TIMEOUT"),
    "silent after its head": (Reply(hang_after_head=True), "TIMEOUT"),
}
"""Faults before the first token: another backend answers."""

HALF_SAID: dict[str, tuple[Reply, str]] = {
    "cut": (Reply(("Fo", "ur"), finish_reason=None), "Four"),
    "cut inside a character": (cut_inside_a_character(), "gr"),
}
"""Faults after the first token: a stream ends there, a whole answer is begun anew."""

REFUSED: dict[str, tuple[Reply, str]] = {
    "bad request": (status(400), "REFUSED_BY_BACKEND"),
    "filtered": (status(400, error="content_filter"), "CONTENT_FILTERED"),
}
"""What would be the same everywhere: nobody else is asked."""

CLOUD: dict[str, tuple[Reply, int]] = {
    "nothing": (Reply(("",)), router_pb2.SKIP_REASON_UNDECIDED),
    "no label": (Reply(("very hard",)), router_pb2.SKIP_REASON_UNDECIDED),
    "sign-in page": (html(), router_pb2.SKIP_REASON_UNDECIDED),
    "truncated": (Reply(body=b'{"choices": [{"message"', cut_after=20), router_pb2.SKIP_REASON_UNAVAILABLE),
    "rate limited": (status(429, retry_after=7), router_pb2.SKIP_REASON_OVERLOADED),
    "away": (status(503), router_pb2.SKIP_REASON_UNAVAILABLE),
    "wrong key": (status(401), router_pb2.SKIP_REASON_UNAVAILABLE),
    "slow": (Reply(first_token_after=60), router_pb2.SKIP_REASON_TIMEOUT),
}


@dataclass
class World:
    """A router whose small tier, whose other tiers and whose cloud are servers of their own."""

    router: Running
    analyzer: FakeAnalyzer
    small: FakeOpenAI
    others: FakeOpenAI
    cloud: FakeOpenAI

    async def ask(self, *, streamed: bool) -> tuple[Any, str]:
        """The message with the bill, and the text."""
        if not streamed:
            answer = await self.router.stub.Route(asking(), timeout=SECONDS)
            return answer, answer.text
        request = router_pb2.StreamRouteRequest(messages=said("What is 2 + 2?"))
        pieces = [piece async for piece in self.router.stub.StreamRoute(request, timeout=SECONDS)]
        return pieces[-1], "".join(piece.delta for piece in pieces)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All of it, well; the cloud takes as long as clouds do."""
    async with (
        FakeAnalyzer() as analyzer,
        FakeOpenAI(ANSWER) as small,
        FakeOpenAI(ANSWER) as others,
        FakeOpenAI(Reply(("1",)), latency=0.4) as cloud,
    ):
        made = configuration(tmp_path, analyzer.target, others.base_url)
        made["tiers"]["SMALL"]["backends"][0]["base_url"] = small.base_url
        made["cloud_analysis"] = {"enabled": True, "base_url": cloud.base_url, "model": "cloud-tiny"}
        async with running_router(tmp_path, made) as router:
            yield World(router, analyzer, small, others, cloud)


streamed_or_not = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


@streamed_or_not
@pytest.mark.parametrize(("reply", "outcome"), NOTHING_SAID.values(), ids=NOTHING_SAID)
async def test_before_the_first_token_the_next_tier_answers(
    world: World, reply: Reply, outcome: str, *, streamed: bool
) -> None:
    """Within the deadline; both attempts are told, and what was read is billed."""
    world.small.script = [reply]
    last, text = await world.ask(streamed=streamed)
    assert text == "Four."
    assert last.finish_reason == router_pb2.FINISH_REASON_STOP
    told = [router_pb2.AttemptOutcome.Name(each.outcome).removeprefix(OUTCOME) for each in last.attempts]
    assert told == [outcome, "ANSWERED"]
    assert [each.tier for each in last.attempts] == [router_pb2.TIER_SMALL, router_pb2.TIER_MEDIUM]
    assert (last.cost.total_micros > MEDIUM_BILL) is (outcome == "TIMEOUT")
    assert last.cost.total_micros == sum(each.cost_micros for each in last.attempts)
    assert (len(world.small.seen), len(world.others.seen)) == (1, 1)


@streamed_or_not
@pytest.mark.parametrize(("reply", "said_so_far"), HALF_SAID.values(), ids=HALF_SAID)
async def test_after_the_first_token_a_stream_stays_and_a_whole_answer_moves_on(
    world: World, reply: Reply, said_so_far: str, *, streamed: bool
) -> None:
    """What came is billed both times."""
    world.small.script = [reply]
    last, text = await world.ask(streamed=streamed)
    assert text == (said_so_far if streamed else "Four.")
    wanted = router_pb2.FINISH_REASON_ERROR if streamed else router_pb2.FINISH_REASON_STOP
    assert last.finish_reason == wanted
    assert last.attempts[0].outcome == router_pb2.ATTEMPT_OUTCOME_CUT_OFF
    assert last.attempts[0].cost_micros > 0
    assert len(world.others.seen) == (0 if streamed else 1)


@streamed_or_not
@pytest.mark.parametrize(("reply", "reason"), REFUSED.values(), ids=REFUSED)
async def test_what_would_be_the_same_everywhere_ends_it(
    world: World, reply: Reply, reason: str, *, streamed: bool
) -> None:
    """INVALID_ARGUMENT, and no second bill."""
    world.small.script = [reply]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.ask(streamed=streamed)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert received_reason(refused.value) == reason
    assert not world.others.seen


@streamed_or_not
@pytest.mark.parametrize(("reply", "reason"), CLOUD.values(), ids=CLOUD)
async def test_a_fault_of_the_cloud_leads_to_the_default_tier(
    world: World, reply: Reply, reason: int, *, streamed: bool
) -> None:
    """In time; the answer comes from the medium tier, and a stream's first message says why."""
    world.analyzer.answer = refusal(grpc.StatusCode.UNAVAILABLE)
    world.cloud.script = [reply]
    last, text = await world.ask(streamed=streamed)
    assert text == "Four."
    assert [each.tier for each in last.attempts] == [router_pb2.TIER_MEDIUM]
    # A page with status 200 may have cost what an answer costs: nobody knows.
    wanted = 0 if last.cost.cost_unknown else MEDIUM_BILL + last.cost.analysis_micros
    assert last.cost.total_micros == wanted
    assert last.cost.cost_unknown is (reply == html())
    if not streamed:
        decision = last.decision
        assert [skip.reason for skip in decision.skipped_rungs] == [router_pb2.SKIP_REASON_UNAVAILABLE, reason]
        assert (decision.cause, decision.tier) == (router_pb2.CAUSE_DEFAULT, router_pb2.TIER_MEDIUM)
