"""The backlog refuses at the door, forms batches of one kind, and drops dead work."""

import asyncio
from dataclasses import dataclass, field

import pytest

from analyzer.backlog import Backlog, BacklogSettings
from analyzer.estimating import PassTime
from analyzer.jobs import Job, Lane, Wish
from servicekit.deadline import Deadline
from servicekit.errors import ResourceExhausted
from tests.support.fake_model import FakeScorer


@dataclass
class Clock:
    """A clock that stands."""

    now: float = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class Desk:
    """A backlog on a standing clock, with a pass of 10 ms plus 0.1 ms a token."""

    settings: BacklogSettings = field(default_factory=BacklogSettings)
    clock: Clock = field(default_factory=Clock)
    scorer: FakeScorer = field(default_factory=FakeScorer)

    def __post_init__(self) -> None:
        """Makes the backlog."""
        self.backlog = Backlog(self.settings, PassTime(0.01, 0.0001, spread=0.0), self.clock)

    def job(self, length: int, seconds: float = 60.0, lane: Lane = Lane.SINGLE) -> Job:
        """A job that came in now."""
        deadline = Deadline(self.clock() + seconds, self.clock)
        future = asyncio.get_running_loop().create_future()
        return Job(Wish([1] * length, self.scorer, deadline, lane), self.clock(), future)

    def admitted(self, length: int, seconds: float = 60.0, lane: Lane = Lane.SINGLE) -> Job:
        """A job that was let in."""
        job = self.job(length, seconds, lane)
        self.backlog.admit(job)
        return job


async def test_prompts_of_like_length_share_a_batch() -> None:
    """Padding is computed like any token."""
    desk = Desk()
    jobs = [desk.admitted(length) for length in (20, 100, 22, 110, 18)]
    assert [job.length for job in desk.backlog.form().batch] == [20, 22, 18]
    assert [job.length for job in desk.backlog.form().batch] == [100, 110]
    assert len(desk.backlog) == 0
    assert len(jobs) == 5


async def test_the_oldest_prompt_is_always_in_the_next_batch() -> None:
    """No length starves."""
    desk = Desk()
    desk.admitted(128)
    for _ in range(40):
        desk.admitted(16)
    assert desk.backlog.form().batch[0].length == 128


async def test_a_batch_is_a_token_budget_and_a_count() -> None:
    """Beyond about 512 tokens a pass gains nothing."""
    desk = Desk(BacklogSettings(tokens_a_batch=512, prompts_a_batch=4))
    for length in (64,) * 12:
        desk.admitted(length)
    assert len(desk.backlog.form().batch) == 4
    wide = Desk(BacklogSettings(tokens_a_batch=256))
    for length in (64,) * 12:
        wide.admitted(length)
    assert len(wide.backlog.form().batch) == 4


async def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    """Waiting for room would only move the queue into the callers."""
    desk = Desk(BacklogSettings(most_waiting=3))
    for _ in range(3):
        desk.admitted(64)
    with pytest.raises(ResourceExhausted) as caught:
        desk.admitted(64)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0


async def test_bulk_work_leaves_the_door_open_for_single_calls() -> None:
    """However much of it waits."""
    desk = Desk(BacklogSettings(most_waiting=3))
    for _ in range(3):
        desk.admitted(64, lane=Lane.BULK)
    with pytest.raises(ResourceExhausted):
        desk.admitted(64, lane=Lane.BULK)
    single = desk.admitted(64)
    assert desk.backlog.form().batch == (single,)


async def test_a_deadline_that_cannot_be_met_is_refused_before_it_is_computed() -> None:
    """By the estimate: what is ahead, and the own pass."""
    desk = Desk()
    for _ in range(8):
        desk.admitted(64)
    with pytest.raises(ResourceExhausted) as caught:
        desk.admitted(64, seconds=0.1)
    assert caught.value.reason == "DEADLINE_TOO_NEAR"
    assert desk.admitted(64, seconds=0.3)


async def test_an_idle_engine_tries_even_what_the_estimate_calls_late() -> None:
    """Or one wrong estimate would refuse everybody for good."""
    desk = Desk()
    job = desk.admitted(64, seconds=0.005)
    assert desk.backlog.form().batch == (job,)


async def test_late_work_is_dropped_when_the_batch_is_formed() -> None:
    """It waited too long."""
    desk = Desk()
    first = desk.admitted(64)
    late = desk.admitted(64, seconds=0.05)
    in_time = desk.admitted(64)
    desk.clock.now += 0.04
    formed = desk.backlog.form()
    assert formed.batch == (first, in_time)
    desk.clock.now += 0.02
    assert desk.backlog.form().late == (late,)


async def test_a_batch_never_grows_past_the_deadline_of_anybody_in_it() -> None:
    """Company is no reason to be late."""
    desk = Desk()
    hurried = desk.admitted(100, seconds=0.04)
    for _ in range(4):
        desk.admitted(100)
    assert len(desk.backlog.form().batch) == 2
    assert hurried.deadline.remaining() > 0


async def test_cancelled_work_is_dropped_and_counted() -> None:
    """Nobody waits for it."""
    desk = Desk()
    gone, here = desk.admitted(64), desk.admitted(64)
    gone.future.cancel()
    formed = desk.backlog.form()
    assert (formed.batch, formed.cancelled_count) == ((here,), 1)


async def test_two_models_never_share_a_pass() -> None:
    """While one takes over from the other."""
    desk = Desk()
    old = desk.admitted(64)
    desk.scorer = FakeScorer("fake-2")
    new = desk.admitted(64)
    assert desk.backlog.form().batch == (old,)
    assert desk.backlog.form().batch == (new,)


async def test_its_state_can_be_read() -> None:
    """In a debugger, or a log line."""
    desk = Desk()
    desk.admitted(64)
    desk.admitted(64, lane=Lane.BULK)
    assert "1 single, 1 bulk" in repr(desk.backlog)
