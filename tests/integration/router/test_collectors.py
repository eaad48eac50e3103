"""A collector that is down, hung or very slow loses spans; it costs no caller anything, nor memory, nor the end."""

import asyncio
import gc
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from tinyroute.router.v1 import router_pb2

from tests.support.broken_collectors import KINDS, broken_collector
from tests.support.fake_analyzer import FakeAnalyzer
from tests.support.fake_openai import FakeOpenAI
from tests.support.running_router import Running, configuration, running_router, said

CALLS = 300
SPANS_A_CALL = 4
QUEUE, BATCH = 64, 32
OPEN = 8 * SPANS_A_CALL
"""Spans of calls under way, of which there are eight."""

GRACE_SECONDS = 10.0
"""Far more than the two seconds that the last flush may take, far less than the SDK's own thirty."""


@pytest.fixture(autouse=True)
def _small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the exporter's memory small and its attempts frequent: the SDK reads this from the process alone."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(BATCH))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broken_collector_costs_spans_and_nothing_else(kind: str, tmp_path: Path) -> None:
    """Every call is answered, the spans that wait are bounded, and the router stops within its grace period."""
    gc.collect()
    before = waiting_spans()
    with broken_collector(kind) as endpoint:
        async with FakeAnalyzer() as analyzer, FakeOpenAI() as model:
            made = configuration(tmp_path, analyzer.target, model.base_url)
            environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
            running = running_router(tmp_path, made, environment)
            router = await running.__aenter__()
            sources = await decide_often(router)
            waiting = waiting_spans() - before
            async with asyncio.timeout(GRACE_SECONDS):
                await running.__aexit__(None, None, None)
    assert sources == {router_pb2.ANALYSIS_SOURCE_MODEL}
    assert CALLS * SPANS_A_CALL > 4 * (QUEUE + BATCH + OPEN)
    assert waiting <= QUEUE + BATCH + OPEN


async def decide_often(router: Running) -> set[int]:
    """Makes the calls, eight at a time; returns where their analyses came from."""
    room = asyncio.Semaphore(8)

    async def one(number: int) -> int:
        async with room:
            request = router_pb2.DecideRequest(messages=said(f"Question {number}"))
            answer = await router.stub.Decide(request, timeout=30)
        return int(answer.decision.analysis_source)

    return set(await asyncio.gather(*map(one, range(CALLS))))


def waiting_spans() -> int:
    """Returns how many ended spans are in memory."""
    gc.collect()
    return sum(type(each) is ReadableSpan for each in gc.get_objects())
