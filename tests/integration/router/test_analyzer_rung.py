"""The self-hosted rung against a real gRPC server."""

import asyncio
import math
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from tinyroute.analyzer.v1 import analyzer_pb2

from router.adapters.analyzer_rung import AnalyzerRung, open_channel
from router.analysis import Analysis, AnalysisSource, AnalyzerTimings, RungFailed, SkipReason, Task
from router.request import Message, Role, RouteRequest
from servicekit.deadline import Deadline
from tests.support.fake_analyzer import FakeAnalyzer, found, refusal

REQUEST = RouteRequest("r", "acme", (Message(Role.USER, "What is 2 + 2?"),))


@pytest.fixture
async def analyzer() -> AsyncIterator[FakeAnalyzer]:
    """A running analyzer."""
    async with FakeAnalyzer() as server:
        yield server


async def ask(target: str, *, seconds: float = 2.0) -> Analysis:
    """One analysis over a channel made for it."""
    async with open_channel(target) as channel:
        rung = AnalyzerRung(channel, lambda messages: f"bucket-{len(messages)}", lambda: {"traceparent": "00-ab-cd-01"})
        return await rung.analyze(REQUEST, Deadline.after(seconds))


async def test_an_analysis_comes_whole(analyzer: FakeAnalyzer) -> None:
    """Every field finds its place."""
    analyzer.answer = found(
        0.2, 0.5, 0.8, confidence=0.7, truncated=True, source=analyzer_pb2.ANALYSIS_SOURCE_COALESCED
    )
    assert await ask(analyzer.target) == Analysis(
        success=(0.2, 0.5, 0.8),
        confidence=0.7,
        source=AnalysisSource.COALESCED,
        task=Task.MATH,
        expected_output_tokens=120,
        prompt_token_count=12,
        truncated=True,
        revision="tiny-1",
        timings=AnalyzerTimings(forward=0.012),
    )


async def test_tenant_bucket_and_trace_travel_as_metadata(analyzer: FakeAnalyzer) -> None:
    """The balancer hashes on the bucket, caches are kept by tenant."""
    await ask(analyzer.target)
    request, metadata = analyzer.seen[0]
    assert request.messages[0].content == "What is 2 + 2?"
    assert metadata["x-tinyroute-tenant"] == "acme"
    assert metadata["x-tinyroute-affinity"] == "bucket-1"
    assert metadata["traceparent"] == "00-ab-cd-01"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, SkipReason.UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, SkipReason.OVERLOADED),
        (grpc.StatusCode.DEADLINE_EXCEEDED, SkipReason.TIMEOUT),
        (grpc.StatusCode.INTERNAL, SkipReason.UNDECIDED),
        (grpc.StatusCode.INVALID_ARGUMENT, SkipReason.UNDECIDED),
        (grpc.StatusCode.UNKNOWN, SkipReason.UNDECIDED),
        (grpc.StatusCode.UNIMPLEMENTED, SkipReason.UNAVAILABLE),
        (grpc.StatusCode.PERMISSION_DENIED, SkipReason.UNAVAILABLE),
    ],
)
async def test_every_status_is_a_reason(analyzer: FakeAnalyzer, code: grpc.StatusCode, reason: SkipReason) -> None:
    """No gRPC error gets out."""
    analyzer.answer = refusal(code, retry_after=1.5)
    with pytest.raises(RungFailed) as failed:
        await ask(analyzer.target)
    assert failed.value.reason is reason
    assert failed.value.retry_after_seconds == 1.5


@pytest.mark.parametrize(
    "answer",
    [
        analyzer_pb2.Analysis(),
        found(0.9, 0.95),
        found(0.9, 0.8, 0.99),
        found(math.nan, 0.9, 0.99),
        found(0.9, 0.95, 1.5),
        found(0.9, 0.95, 0.99, confidence=math.inf),
        found(0.9, 0.95, 0.99, success=list(reversed(found(0.9, 0.95, 0.99).success))),
    ],
    ids=["empty", "two", "decreasing", "NaN", "above one", "infinite confidence", "wrong order"],
)
async def test_nonsense_is_undecided(analyzer: FakeAnalyzer, answer: analyzer_pb2.Analysis) -> None:
    """No decision rests on it."""
    analyzer.answer = answer
    with pytest.raises(RungFailed) as failed:
        await ask(analyzer.target)
    assert failed.value.reason is SkipReason.UNDECIDED


async def test_a_slow_analyzer_costs_its_share_and_no_more(analyzer: FakeAnalyzer) -> None:
    """The deadline is the call's own."""
    analyzer.latency = 5.0
    began = time.monotonic()
    with pytest.raises(RungFailed) as failed:
        await ask(analyzer.target, seconds=0.1)
    assert time.monotonic() - began < 1.0
    assert failed.value.reason is SkipReason.TIMEOUT


async def test_the_first_call_waits_for_the_connection(analyzer: FakeAnalyzer) -> None:
    """A channel that is just being opened is no failure."""
    channel = grpc.aio.insecure_channel(analyzer.target)
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    rung = AnalyzerRung(channel, lambda _: "b")
    assert (await rung.analyze(REQUEST, Deadline.after(2))).revision == "tiny-1"
    await channel.close()


async def test_nobody_listening_is_unavailable_and_found_again_within_two_seconds(analyzer: FakeAnalyzer) -> None:
    """The reconnect's back-off is bounded."""
    await analyzer.stop()
    async with open_channel(analyzer.target) as channel:
        rung = AnalyzerRung(channel, lambda _: "b")
        with pytest.raises(RungFailed):
            await rung.analyze(REQUEST, Deadline.after(0.3))
        await asyncio.sleep(1.0)
        await analyzer.start(analyzer.port)
        began = time.monotonic()
        while time.monotonic() - began < 3:
            try:
                await rung.analyze(REQUEST, Deadline.after(0.2))
                break
            except RungFailed:
                await asyncio.sleep(0.05)
        assert time.monotonic() - began < 2


async def test_cancelling_ends_the_call(analyzer: FakeAnalyzer) -> None:
    """A caller that goes away stops the analyzer's work."""
    analyzer.latency = 5.0
    task = asyncio.create_task(ask(analyzer.target, seconds=5))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.2)
    assert analyzer.cancelled == 1
