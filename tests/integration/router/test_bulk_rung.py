"""The self-hosted rung for prompts of a batch, against a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from tinyroute.analyzer.v1 import analyzer_pb2

from router.adapters.analyzer_rung import AnalyzerRung, open_channel
from router.adapters.bulk_rung import PARTS, BulkRung
from router.analysis import RungFailed, SkipReason
from router.request import Message, Role, RouteRequest
from servicekit.deadline import Deadline
from tests.support.fake_analyzer import FakeAnalyzer, refusal

PROMPTS = 12


def asked(number: int, *, bulk: bool = True) -> RouteRequest:
    """One prompt of many."""
    return RouteRequest(f"r-{number}", "acme", (Message(Role.USER, f"Prompt {number}"),), bulk=bulk)


@asynccontextmanager
async def rung_at(target: str) -> AsyncIterator[BulkRung]:
    """The rung over a channel made for it."""
    async with open_channel(target) as channel:
        single = AnalyzerRung(channel, _bucket, dict)
        yield BulkRung(single, channel, _bucket, dict)


def _bucket(messages: Any) -> str:
    return str(messages[-1].content)


async def test_prompts_of_a_batch_share_calls_and_single_ones_go_by_themselves() -> None:
    """At most one call a part, each with the part's affinity; a single prompt is no part of them."""
    async with FakeAnalyzer() as analyzer, rung_at(analyzer.target) as rung:
        deadline = Deadline.after(5)
        await asyncio.gather(
            rung.analyze(asked(0, bulk=False), deadline),
            *(rung.analyze(asked(number), deadline) for number in range(1, PROMPTS + 1)),
        )
    batches = [(request, metadata) for request, metadata in analyzer.seen if hasattr(request, "requests")]
    assert len(analyzer.seen) - len(batches) == 1
    assert 1 <= len(batches) <= PARTS
    assert sum(len(request.requests) for request, _ in batches) == PROMPTS
    assert len({metadata["x-tinyroute-affinity"] for _, metadata in batches}) == len(batches)


async def test_a_refused_call_fails_each_of_its_prompts() -> None:
    """With the reason the analyzer gave."""
    refusing = FakeAnalyzer(refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5))
    async with refusing as analyzer, rung_at(analyzer.target) as rung:
        calls = (rung.analyze(asked(number), Deadline.after(5)) for number in range(PROMPTS))
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert {each.reason for each in found if isinstance(each, RungFailed)} == {SkipReason.OVERLOADED}
    assert len(found) == PROMPTS


async def test_an_item_that_is_no_analysis_fails_alone() -> None:
    """Its neighbours keep theirs."""

    class HalfBroken(FakeAnalyzer):
        async def BatchAnalyzePrompts(self, request: Any, context: Any) -> Any:  # noqa: N802
            answer = await super().BatchAnalyzePrompts(request, context)
            answer.results[0].CopyFrom(analyzer_pb2.BatchAnalyzeResult(analysis=analyzer_pb2.Analysis()))
            return answer

    async with HalfBroken() as analyzer, rung_at(analyzer.target) as rung:
        with pytest.raises(RungFailed) as failed:
            await rung.analyze(asked(1), Deadline.after(5))
    assert failed.value.reason is SkipReason.UNDECIDED


async def test_a_caller_that_leaves_takes_nobody_along() -> None:
    """The others of its call are answered."""
    async with FakeAnalyzer(latency=0.2) as analyzer, rung_at(analyzer.target) as rung:
        calls = [asyncio.ensure_future(rung.analyze(asked(1), Deadline.after(5))) for _ in range(3)]
        await asyncio.sleep(0.05)
        calls[0].cancel()
        found = await asyncio.gather(*calls[1:])
    assert len(found) == 2
    assert calls[0].cancelled()
