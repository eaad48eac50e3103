"""Every waiter is answered exactly once, whatever happens to the model, the callers or the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.backlog import BacklogSettings
from analyzer.batching import BatchSettings, MicroBatcher, running
from analyzer.jobs import Lane, Scored, Wish
from analyzer.observing import BatchDone, SilentObserver, Trace
from servicekit.deadline import Deadline
from servicekit.errors import Internal, ResourceExhausted, Unavailable
from tests.support.fake_model import FakeScorer


@asynccontextmanager
async def batching(settings: BatchSettings | None = None) -> AsyncIterator[MicroBatcher]:
    """A batcher whose loop runs."""
    async with AsyncExitStack() as stack:
        batcher = MicroBatcher(settings)
        running(batcher, stack)
        yield batcher


def wish(scorer: FakeScorer, value: int = 1, length: int = 8, seconds: float = 30.0, lane: Lane = Lane.SINGLE) -> Wish:
    """A prompt whose score will be `value`."""
    return Wish([value] * length, scorer, Deadline.after(seconds), lane)


async def test_everybody_gets_their_own_scores() -> None:
    """Not their neighbours'."""
    scorer = FakeScorer()
    async with batching() as batcher:
        found = await asyncio.gather(*(batcher.score(wish(scorer, value)) for value in range(50)))
    assert [scored.scores for scored in found] == [[float(value)] for value in range(50)]


async def test_what_comes_while_the_engine_works_shares_the_next_pass() -> None:
    """The batch forms by itself under load."""
    scorer = FakeScorer(gate=asyncio.Event())
    async with batching() as batcher:
        first = asyncio.create_task(batcher.score(wish(scorer)))
        await scorer.started.wait()
        others = [asyncio.create_task(batcher.score(wish(scorer))) for _ in range(6)]
        await asyncio.sleep(0)
        assert scorer.gate is not None
        scorer.gate.set()
        await asyncio.gather(first, *others)
    assert [len(batch) for batch in scorer.passes] == [1, 6]
    assert (await others[0]).batch_size == 6


async def test_an_idle_service_waits_for_nobody() -> None:
    """The window only opens when passes lately had company."""
    scorer = FakeScorer()
    async with batching(BatchSettings(longest_window_seconds=5.0)) as batcher:
        scored = await asyncio.wait_for(batcher.score(wish(scorer)), 1.0)
    assert scored.queue.seconds < 0.5


async def test_a_model_error_answers_everybody_in_the_batch() -> None:
    """And the next batch is served."""
    scorer = FakeScorer(error=RuntimeError("boom"))
    async with batching() as batcher:
        outcomes = await asyncio.gather(*(batcher.score(wish(scorer)) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, Internal) for outcome in outcomes)
        scorer.error = None
        assert isinstance(await batcher.score(wish(scorer)), Scored)


async def test_a_model_that_forgets_a_prompt_answers_everybody_too() -> None:
    """Too few scores are an error, not a wait without end."""

    class Forgetful(FakeScorer):
        async def score(self, batch: object) -> list[list[float]]:  # noqa: ARG002
            """Returns one score, however many were asked for."""
            return [[1.0]]

    scorer = Forgetful()
    async with batching() as batcher:
        outcomes = await asyncio.gather(*(batcher.score(wish(scorer)) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Internal] * 3


async def test_a_cancelled_caller_leaves_the_queue_and_costs_nothing() -> None:
    """Its prompt is never computed."""
    scorer = FakeScorer(gate=asyncio.Event())
    async with batching() as batcher:
        first = asyncio.create_task(batcher.score(wish(scorer, 1)))
        await scorer.started.wait()
        gone = asyncio.create_task(batcher.score(wish(scorer, 2)))
        stays = asyncio.create_task(batcher.score(wish(scorer, 3)))
        await asyncio.sleep(0)
        gone.cancel()
        assert scorer.gate is not None
        scorer.gate.set()
        await asyncio.gather(first, stays)
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert [prompt[0] for batch in scorer.passes for prompt in batch] == [1, 3]


async def test_those_who_wait_at_the_stop_are_told() -> None:
    """In the queue, in the engine, and afterwards at the door."""
    scorer = FakeScorer(gate=asyncio.Event())
    async with batching() as batcher:
        waiting = [asyncio.create_task(batcher.score(wish(scorer))) for _ in range(3)]
        await scorer.started.wait()
        waiting.append(asyncio.create_task(batcher.score(wish(scorer))))
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 4
    with pytest.raises(Unavailable):
        await batcher.score(wish(scorer))


async def test_single_calls_go_before_bulk_ones() -> None:
    """At most one short bulk pass stands before them."""
    scorer = FakeScorer(gate=asyncio.Event())
    async with batching() as batcher:
        first = asyncio.create_task(batcher.score(wish(scorer, 1)))
        await scorer.started.wait()
        bulk = [asyncio.create_task(batcher.score(wish(scorer, 2, 64, lane=Lane.BULK))) for _ in range(20)]
        await asyncio.sleep(0)
        single = asyncio.create_task(batcher.score(wish(scorer, 3)))
        await asyncio.sleep(0)
        assert scorer.gate is not None
        scorer.gate.set()
        await asyncio.gather(first, single, *bulk)
    assert [batch[0][0] for batch in scorer.passes[:2]] == [1, 3]
    assert all(len(batch) * len(batch[0]) <= 256 for batch in scorer.passes[2:])


async def test_a_listener_hears_of_every_pass() -> None:
    """With what was in it."""

    class Listener(SilentObserver):
        def __init__(self) -> None:
            self.facts: list[BatchDone] = []

        def batch_done(self, fact: BatchDone) -> Trace:
            """Keeps the fact."""
            self.facts.append(fact)
            return "link"

    listener, scorer = Listener(), FakeScorer()
    async with AsyncExitStack() as stack:
        batcher = MicroBatcher(observer=listener)
        running(batcher, stack)
        first, _ = await asyncio.gather(batcher.score(wish(scorer, length=10)), batcher.score(wish(scorer, length=9)))
    (fact,) = listener.facts
    assert (fact.prompt_count, fact.token_count, fact.padded_token_count) == (2, 19, 20)
    assert first.batch == "link"


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 128), min_size=1, max_size=60),
    fates=st.lists(st.sampled_from(["stays", "leaves", "hurries"]), min_size=60, max_size=60),
    failing=st.booleans(),
)
def test_exactly_one_answer_each_under_any_mix(lengths: list[int], fates: list[str], *, failing: bool) -> None:
    """Scores, a refusal, an error or the caller's own cancellation: never two, never none."""

    async def run() -> None:
        scorer = FakeScorer(error=RuntimeError("boom") if failing else None, seconds=0.001)
        async with batching(BatchSettings(BacklogSettings(most_waiting=40))) as batcher:
            tasks = []
            for index, length in enumerate(lengths):
                seconds = 0.02 if fates[index] == "hurries" else 30.0
                tasks.append(asyncio.create_task(batcher.score(wish(scorer, index, length, seconds))))
                if index % 7 == 0:
                    await asyncio.sleep(0)
                if fates[index] == "leaves":
                    tasks[-1].cancel()
            outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20.0)
            assert batcher.idle
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Scored):
                assert outcome.scores == [float(index)]
            else:
                assert isinstance(outcome, Internal | ResourceExhausted | asyncio.CancelledError)

    asyncio.run(run())
