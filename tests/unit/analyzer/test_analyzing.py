"""A prompt is answered from the nearest rung of the cache ladder, and computed once when there is none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from analyzer.analyzing import Finding, PromptAnalyzer
from analyzer.batching import MicroBatcher, running
from analyzer.false_hits import FalseHitSettings
from analyzer.jobs import Lane
from analyzer.models import Models
from analyzer.observing import Source
from servicekit.errors import DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from tests.support.fake_model import FakeScorer, fake_model, prompt


@dataclass
class Bench:
    """An analyzer and what it is made of."""

    analyzer: PromptAnalyzer
    scorer: FakeScorer
    models: Models


@asynccontextmanager
async def analyzing(
    *, score_of: Callable[[str], int] = len, draw: float = 0.99, false_hits: FalseHitSettings | None = None
) -> AsyncIterator[Bench]:
    """An analyzer with a fake model."""
    async with AsyncExitStack() as stack:
        scorer = FakeScorer()
        models = Models(active=fake_model(scorer, score_of))
        batcher = MicroBatcher()
        running(batcher, stack)
        analyzer = PromptAnalyzer(models, batcher, false_hits=false_hits, draw=lambda: draw)
        stack.push_async_callback(analyzer.close)
        yield Bench(analyzer, scorer, models)


async def test_the_same_prompt_is_computed_once() -> None:
    """White space aside."""
    async with analyzing() as bench:
        first = await bench.analyzer.analyze(prompt("What is a lute?"))
        again = await bench.analyzer.analyze(prompt("  What is   a lute? "))
    assert (first.source, again.source) == (Source.MODEL, Source.CACHE_EXACT)
    assert first.analysis == again.analysis
    assert first.scored is not None
    assert again.scored is None
    assert bench.scorer.prompt_count == 1


async def test_a_near_duplicate_is_answered_with_its_own_token_count() -> None:
    """And says how near it was."""
    async with analyzing() as bench:
        first = await bench.analyzer.analyze(prompt("What is a lute?"))
        near = await bench.analyzer.analyze(prompt("Could you please tell me, what is a lute?"))
        polite = await bench.analyzer.analyze(prompt("What is a lute, please?"))
    assert near.source in (Source.MODEL, Source.CACHE_SIMILAR)
    assert polite.source is Source.CACHE_SIMILAR
    assert polite.similarity is not None
    assert polite.similarity > 0.5
    assert polite.analysis.success == first.analysis.success
    assert polite.analysis.prompt_token_count == 5


async def test_twenty_identical_prompts_in_flight_cost_one_pass() -> None:
    """The others are told that they were carried along."""
    async with analyzing() as bench:
        found = await asyncio.gather(*(bench.analyzer.analyze(prompt("What is a lute?")) for _ in range(20)))
    assert sorted({finding.source for finding in found}) == [Source.COALESCED, Source.MODEL]
    assert bench.scorer.prompt_count == 1


async def test_bypassing_neither_reads_nor_writes() -> None:
    """Computed anew, and not kept."""
    async with analyzing() as bench:
        for _ in range(2):
            found = await bench.analyzer.analyze(prompt("What is a lute?", bypass_cache=True))
            assert found.source is Source.MODEL
        kept = await bench.analyzer.analyze(prompt("What is a lute?"))
    assert kept.source is Source.MODEL
    assert bench.scorer.prompt_count == 3


async def test_a_follower_with_more_time_is_not_failed_by_its_leaders_deadline() -> None:
    """It tries by itself."""
    async with analyzing() as bench:
        bench.scorer.gate = asyncio.Event()
        leader = asyncio.create_task(bench.analyzer.analyze(prompt("What is a lute?", seconds=0.05)))
        await bench.scorer.started.wait()
        follower = asyncio.create_task(bench.analyzer.analyze(prompt("What is a lute?")))
        with pytest.raises(DeadlineExceeded):
            await leader
        bench.scorer.gate.set()
        assert (await follower).source in (Source.COALESCED, Source.MODEL)


async def test_a_failing_model_is_not_asked_once_a_follower() -> None:
    """All are told at once, and nothing is kept."""
    async with analyzing() as bench:
        bench.scorer.error = RuntimeError("boom")
        outcomes = await asyncio.gather(
            *(bench.analyzer.analyze(prompt("What is a lute?")) for _ in range(10)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [Internal] * 10
        assert bench.scorer.prompt_count == 1
        bench.scorer.error = None
        assert (await bench.analyzer.analyze(prompt("What is a lute?"))).source is Source.MODEL


async def test_without_a_model_the_caller_is_sent_elsewhere() -> None:
    """Before anything is read."""
    async with analyzing() as bench:
        bench.models.active = None
        with pytest.raises(Unavailable):
            await bench.analyzer.analyze(prompt("What is a lute?"))


async def test_another_revision_answers_anew() -> None:
    """Caches never cross revisions, and a request keeps the model it began with."""
    async with analyzing() as bench:
        await bench.analyzer.analyze(prompt("What is a lute?"))
        other = FakeScorer("fake-2")
        bench.models.stage(fake_model(other))
        bench.models.activate("fake-2")
        found = await bench.analyzer.analyze(prompt("What is a lute?"))
    assert (found.revision, found.source, other.prompt_count) == ("fake-2", Source.MODEL, 1)


async def test_a_batch_fails_item_by_item_and_computes_near_duplicates_once() -> None:
    """In the order of the request."""
    texts = ["What is a lute?", "what is a lute", "What is a lute, please?", "Name two rivers.", "What is a lute?"]
    async with analyzing() as bench:
        found = await bench.analyzer.analyze_many([prompt(text) for text in texts])
    assert all(isinstance(each, Finding) for each in found)
    assert bench.scorer.prompt_count == 2


async def test_a_single_call_never_waits_for_a_bulk_one_of_the_same_prompt() -> None:
    """It is computed by itself."""
    async with analyzing() as bench:
        bench.scorer.gate = asyncio.Event()
        blocker = asyncio.create_task(bench.analyzer.analyze(prompt("Something else entirely?")))
        await bench.scorer.started.wait()
        asked = prompt("What is a lute?")
        bulk = asyncio.create_task(
            bench.analyzer.analyze_many([type(asked)(asked.messages, "local", asked.deadline, lane=Lane.BULK)])
        )
        await asyncio.sleep(0.01)
        single = asyncio.create_task(bench.analyzer.analyze(asked))
        await asyncio.sleep(0.01)
        bench.scorer.gate.set()
        await asyncio.gather(blocker, bulk, single)
    assert [len(batch) for batch in bench.scorer.passes] == [1, 1, 1]


async def test_similar_hits_are_checked_in_the_background() -> None:
    """The caller doesn't wait for it."""
    async with analyzing(draw=0.0) as bench:
        await bench.analyzer.analyze(prompt("What is a lute?"))
        found = await bench.analyzer.analyze(prompt("What is a lute, please?"))
        assert found.source is Source.CACHE_SIMILAR
        async with asyncio.timeout(5):
            while "0 of 0" in repr(bench.analyzer.false_hits):  # noqa: ASYNC110 - the check is nobody's to await
                await asyncio.sleep(0.001)
    assert bench.scorer.prompt_count == 2


async def test_a_misleading_similar_cache_stops_answering_and_goes_on_checking() -> None:
    """Every would-be hit is computed, which is a check for nothing."""
    settings = FalseHitSettings(checked_share=1.0, window=4, enough=2)
    texts = ["What is a lute?", "What is a lute", "What is a lute!", "What is a lute."]

    def score_of(text: str) -> int:
        return 900 if text == texts[0] else 100

    async with analyzing(score_of=score_of, draw=0.0, false_hits=settings) as bench:
        sources = []
        for text in texts:
            sources.append((await bench.analyzer.analyze(prompt(text))).source)
            await asyncio.sleep(0.01)
        assert not bench.analyzer.false_hits.cache_on
    assert sources == [Source.MODEL, Source.CACHE_SIMILAR, Source.CACHE_SIMILAR, Source.MODEL]


async def test_refusals_reach_the_caller_as_they_are() -> None:
    """With the time to come again."""
    async with analyzing() as bench:
        bench.scorer.gate = asyncio.Event()
        blocker = asyncio.create_task(bench.analyzer.analyze(prompt("One?", seconds=30)))
        await bench.scorer.started.wait()
        waiting = [
            asyncio.create_task(bench.analyzer.analyze(prompt(f"Number {n} " + "word " * 100, seconds=30)))
            for n in range(60)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(ResourceExhausted):
            await bench.analyzer.analyze(prompt("Two?", seconds=0.02))
        bench.scorer.gate.set()
        await asyncio.gather(blocker, *waiting, return_exceptions=True)


async def test_a_long_prompt_does_not_hold_up_the_event_loop() -> None:
    """256 KiB is read beside it."""
    async with analyzing() as bench:
        longest = 0.0
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(bench.analyzer.analyze(prompt("wörd ﬁ " * 32_000)))
        before = loop.time()
        while not task.done():
            await asyncio.sleep(0)
            longest, before = max(longest, loop.time() - before), loop.time()
        await task
    assert longest < 0.25  # generous: other processes share the cores of a test machine
