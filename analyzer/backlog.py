"""Prompts that wait for the engine: who is let in, who goes next together, who is dropped. Decides, never waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analyzer.estimating import PassTime
from analyzer.jobs import Job, Lane, padded_tokens, queue_full, too_late

_LEAST_TOKENS = 64  # of a full batch, however near the deadlines
_PASS_SHARE = 0.45  # of the usual deadline, for one pass
_ROOM = 1.7  # for padding, and for the hurried who are let before; by simulation (tests/unit/analyzer/test_overload.py)
_LEARNING = 0.05
_LONG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class BacklogSettings:
    """Bounds of the queue and of a batch."""

    tokens_a_batch: int = 512
    """Padded tokens: beyond, a pass gains no throughput."""

    prompts_a_batch: int = 32
    most_waiting: int = 512
    longest_wait_seconds: float = 2.0
    bulk_tokens_a_batch: int = 256
    """A single call may have to wait for one bulk pass: that one is short."""

    answer_seconds: float = 0.004
    """Kept free between the end of a pass and the deadline: the answer has to travel."""


@dataclass(frozen=True, slots=True)
class Formed:
    """What a look at the backlog led to: a batch to compute (empty: none), and jobs to refuse."""

    batch: tuple[Job, ...]
    late: tuple[Job, ...]
    cancelled_count: int


class Backlog:
    """The waiting jobs of one engine."""

    def __init__(
        self, settings: BacklogSettings, pass_time: PassTime, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._pass_time = pass_time
        self._clock = clock
        self._lanes: dict[Lane, list[Job]] = {lane: [] for lane in Lane}
        self._busy_until = 0.0
        self._usual_left = _LONG_SECONDS

    def __repr__(self) -> str:
        waiting = ", ".join(f"{len(jobs)} {lane.name.lower()}" for lane, jobs in self._lanes.items())
        return f"<Backlog waiting: {waiting}; busy for {self._busy_seconds() * 1000:.0f} ms>"

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def oldest_at(self) -> float | None:
        """When the job came in that has waited longest; None when nothing waits."""
        return min((jobs[0].enqueued_at for jobs in self._lanes.values() if jobs), default=None)

    @property
    def fills_a_batch(self) -> bool:
        """Whether waiting for more company is pointless."""
        singles = self._lanes[Lane.SINGLE]
        return sum(job.length for job in singles) >= self._most_tokens()

    def admit(self, job: Job) -> None:
        """Takes a job in, or raises ResourceExhausted: no room, or its deadline can't be met."""
        lane, left = job.wish.lane, job.deadline.remaining()
        before = self._up_to(lane)
        if lane is Lane.SINGLE:
            self._usual_left += _LEARNING * (min(left, _LONG_SECONDS) - self._usual_left)
        tokens = sum(each.length for each in before)
        ahead, done = self._seconds_until_done(tokens), self._seconds_until_done(tokens + job.length)
        if len(before) >= self.settings.most_waiting or ahead > self.settings.longest_wait_seconds:
            raise queue_full(ahead / 2)
        job.probe = not len(self) and not self._busy_seconds()
        if done * self._pass_time.pessimism + self.settings.answer_seconds > left and not (job.probe and left):
            raise too_late(ahead)
        self._lanes[lane].append(job)

    def form(self) -> Formed:
        """Removes the next batch: the oldest job of the first lane that has any, and others of similar length."""
        cancelled = self._drop_cancelled()
        late: list[Job] = []
        for lane, jobs in self._lanes.items():
            while jobs and not self._in_time(jobs[0], jobs[0].length):
                late.append(jobs.pop(0))
            if jobs:
                batch = self._best(jobs, lane)
                self._lanes[lane] = [job for job in jobs if job not in batch]
                self._busy_until = self._clock() + self._seconds(batch)
                return Formed(tuple(batch), tuple(late), cancelled)
        return Formed((), tuple(late), cancelled)

    def done(self) -> None:
        """Notes that the engine is free."""
        self._busy_until = 0.0

    def clear(self) -> list[Job]:
        """Removes and returns all jobs."""
        jobs = self._up_to(Lane.BULK)
        self._lanes = {lane: [] for lane in Lane}
        return jobs

    def _best(self, jobs: Sequence[Job], lane: Lane) -> list[Job]:
        """Returns the batch of the oldest job, or a bigger one without the hurried, whichever leaves fewer behind.

        A job that is nearly late allows only a small pass. Where many wait, small passes make the next ones late too.
        """
        small = self._company(jobs, lane)
        patient = [job for job in jobs if self._in_time(job, self._most(lane))]
        if not patient or len(patient) == len(jobs):
            return small
        big = self._company(patient, lane)
        both = self._seconds(small) + self._seconds(big) + self.settings.answer_seconds
        if len(big) <= len(small) or all(job.deadline.remaining() >= both for job in big):
            return small
        return big

    def _company(self, jobs: Sequence[Job], lane: Lane) -> list[Job]:
        """Returns the first job and as many others as its pass can take without harm to anybody.

        Those that can't wait for the pass after it come first, then those nearest in length.
        """
        head = jobs[0]
        next_round = 2.0 * self._pass_time.seconds(self._most(lane)) + self.settings.answer_seconds

        def rank(job: Job) -> tuple[int, float]:
            if job.deadline.remaining() < next_round:
                return 0, job.deadline.at
            return 1, abs(job.length - head.length)

        batch = [head]
        for job in sorted((job for job in jobs[1:] if job.wish.scorer is head.wish.scorer), key=rank):
            grown = [*batch, job]
            if self._fits(grown, lane) and self._pays(batch, job):
                padded = padded_tokens(grown)
                if all(self._in_time(each, padded) for each in grown):
                    batch = grown
            elif len(batch) == self.settings.prompts_a_batch:
                break
        return batch

    def _fits(self, batch: Sequence[Job], lane: Lane) -> bool:
        """Says whether a batch keeps to its tokens and its number of prompts."""
        return padded_tokens(batch) <= self._most(lane) and len(batch) <= self.settings.prompts_a_batch

    def _pays(self, batch: Sequence[Job], job: Job) -> bool:
        """Says whether a job's padding in this batch costs less than a pass of its own."""
        more = self._seconds([*batch, job]) - self._seconds(batch)
        return more <= self._pass_time.seconds(job.length)

    def _in_time(self, job: Job, padded: int) -> bool:
        left = job.deadline.remaining()
        if job.probe and padded == job.length:
            return left > 0.0
        return self._pass_time.seconds(padded) + self.settings.answer_seconds <= left

    def _seconds_until_done(self, tokens: int) -> float:
        """Returns when so many waiting tokens are computed: after the running pass, in batches with room to spare."""
        padded = round(tokens * _ROOM)
        return self._busy_seconds() + self._pass_time.backlog_seconds(padded, self._most_tokens())

    def _most(self, lane: Lane) -> int:
        return self._most_tokens() if lane is Lane.SINGLE else self.settings.bulk_tokens_a_batch

    def _seconds(self, batch: Sequence[Job]) -> float:
        return self._pass_time.seconds(padded_tokens(batch))

    def _most_tokens(self) -> int:
        """Returns the size of a full batch: a pass runs while the next one waits, and both fit the usual deadline."""
        fitting = self._pass_time.tokens_within(_PASS_SHARE * self._usual_left / self._pass_time.pessimism)
        return max(_LEAST_TOKENS, min(self.settings.tokens_a_batch, fitting))

    def _up_to(self, lane: Lane) -> list[Job]:
        return [job for each, jobs in self._lanes.items() if each <= lane for job in jobs]

    def _busy_seconds(self) -> float:
        return max(0.0, self._busy_until - self._clock())

    def _drop_cancelled(self) -> int:
        before = len(self)
        self._lanes = {lane: [job for job in jobs if not job.future.done()] for lane, jobs in self._lanes.items()}
        return before - len(self)
