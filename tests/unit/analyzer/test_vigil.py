"""A replica that can't answer says so, and says otherwise only after one real pass."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from analyzer.batching import MicroBatcher, running
from analyzer.jobs import Wish
from analyzer.vigil import Vigil
from servicekit.deadline import Deadline
from tests.support.fake_model import FakeScorer


@dataclass
class Replica:
    """A batcher, what watches it, and what health was told."""

    batcher: MicroBatcher
    scorer: FakeScorer = field(default_factory=FakeScorer)
    told: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Makes the vigil."""
        self.vigil = Vigil(self.batcher, self.told.append, self.call, longest_pass_seconds=0.05)

    async def call(self) -> object:
        """Makes one pass."""
        return await self.batcher.score(Wish([1, 2], self.scorer, Deadline.after(10)))


@asynccontextmanager
async def replica() -> AsyncIterator[Replica]:
    """One with a running batcher."""
    async with AsyncExitStack() as stack:
        batcher = MicroBatcher()
        running(batcher, stack)
        yield Replica(batcher)


async def test_failing_passes_turn_callers_away_until_one_succeeds() -> None:
    """Three in a row, not one bad prompt."""
    async with replica() as here:
        here.scorer.error = RuntimeError("boom")
        for expected in ([], [], [False]):
            await asyncio.gather(here.call(), return_exceptions=True)
            await here.vigil.look()
            assert here.told == expected
        await here.vigil.look()
        assert here.told == [False]
        assert "unwell" in repr(here.vigil)
        here.scorer.error = None
        await here.vigil.look()
        assert here.told == [False, True]


async def test_a_pass_without_end_turns_callers_away() -> None:
    """Until it ends after all."""
    async with replica() as here:
        here.scorer.gate = asyncio.Event()
        hanging = asyncio.create_task(here.call())
        await here.scorer.started.wait()
        await asyncio.sleep(0.06)
        await here.vigil.look()
        assert here.told == [False]
        here.scorer.gate.set()
        await hanging
        await here.vigil.look()
        assert here.told == [False, True]


async def test_a_healthy_replica_is_left_alone() -> None:
    """Nothing is told twice."""
    async with replica() as here:
        await here.call()
        await here.vigil.look()
        assert here.told == []
