"""Work that several want at once is done once, and ends with the last who wants it."""

import asyncio

import pytest

from analyzer.flights import Flights


class Work:
    """A piece of work with a gate, that counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.gate, self.started, self.cancelled, self.error = asyncio.Event(), 0, 0, error

    async def __call__(self) -> str:
        """Waits for the gate."""
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return "done"


async def test_all_who_join_get_the_one_result() -> None:
    """One pass for twenty."""
    flights, work = Flights[str](), Work()
    leader = asyncio.create_task(flights.lead([b"a", b"b"], work()))
    await asyncio.sleep(0)
    assert flights.find([b"x", b"b"]) == b"b"
    others = [asyncio.create_task(flights.join(b"a")) for _ in range(20)]
    await asyncio.sleep(0)
    assert "21 waiting" in repr(flights)
    work.gate.set()
    assert await asyncio.gather(leader, *others) == ["done"] * 21
    assert work.started == 1
    assert flights.find([b"a", b"b"]) is None


async def test_the_first_caller_may_leave_while_others_wait() -> None:
    """Their answer is on its way."""
    flights, work = Flights[str](), Work()
    leader = asyncio.create_task(flights.lead([b"a"], work()))
    await asyncio.sleep(0)
    other = asyncio.create_task(flights.join(b"a"))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    work.gate.set()
    assert await other == "done"
    assert work.cancelled == 0


async def test_the_last_to_leave_takes_the_work_down() -> None:
    """Nobody wants it any more."""
    flights, work = Flights[str](), Work()
    leader = asyncio.create_task(flights.lead([b"a"], work()))
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    await asyncio.sleep(0)
    assert (work.cancelled, flights.find([b"a"])) == (1, None)


async def test_a_personal_error_is_the_first_callers_alone() -> None:
    """Its deadline is not everybody's."""
    flights, work = Flights[str](personal=(TimeoutError,)), Work(TimeoutError())
    leader = asyncio.create_task(flights.lead([b"a"], work()))
    await asyncio.sleep(0)
    other = asyncio.create_task(flights.join(b"a"))
    await asyncio.sleep(0)
    work.gate.set()
    assert await other is None
    with pytest.raises(TimeoutError):
        await leader


async def test_any_other_error_is_everybodys() -> None:
    """A broken model is not asked again for each."""
    flights, work = Flights[str](), Work(RuntimeError("boom"))
    leader = asyncio.create_task(flights.lead([b"a"], work()))
    await asyncio.sleep(0)
    other = asyncio.create_task(flights.join(b"a"))
    await asyncio.sleep(0)
    work.gate.set()
    outcomes = await asyncio.gather(leader, other, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError] * 2
