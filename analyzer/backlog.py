"""Prompts that wait for the engine: who is let in, who goes next together, who is dropped. Decides, never waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analyzer.estimating import PassTime
from analyzer.jobs import Job, Lane, padded_tokens, queue_full, too_late


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

    padding_share: float = 0.3
    """Most of a batch's padded tokens that may be padding."""

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
        return sum(job.length for job in singles) >= self.settings.tokens_a_batch

    def admit(self, job: Job) -> None:
        """Takes a job in, or raises ResourceExhausted: no room, or its deadline can't be met."""
        lane = job.wish.lane
        ahead = self._seconds_ahead(lane)
        if len(self._up_to(lane)) >= self.settings.most_waiting or ahead > self.settings.longest_wait_seconds:
            raise queue_full(ahead / 2)
        job.probe = not len(self) and not self._busy_seconds()
        own = self._pass_time.pessimistic_seconds(job.length) + self.settings.answer_seconds
        left = job.deadline.remaining()
        if ahead + own > left and not (job.probe and left):
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
                batch = self._company(jobs, lane)
                self._lanes[lane] = [job for job in jobs if job not in batch]
                self._busy_until = self._clock() + self._pass_time.seconds(padded_tokens(batch))
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

    def _company(self, jobs: Sequence[Job], lane: Lane) -> list[Job]:
        """Returns the first job and those nearest to it in length that the batch can take without harm to anybody."""
        head = jobs[0]
        others = [job for job in jobs[1:] if job.wish.scorer is head.wish.scorer]
        others.sort(key=lambda job: abs(job.length - head.length))
        batch = [head]
        for job in others:
            grown = [*batch, job]
            if not self._fits(grown, lane):
                break
            if all(self._in_time(each, padded_tokens(grown)) for each in grown):
                batch = grown
        return batch

    def _fits(self, batch: Sequence[Job], lane: Lane) -> bool:
        """Says whether a batch keeps to its tokens, its number of prompts and its share of padding."""
        settings, padded = self.settings, padded_tokens(batch)
        most = settings.tokens_a_batch if lane is Lane.SINGLE else settings.bulk_tokens_a_batch
        padding = padded - sum(job.length for job in batch)
        return padded <= most and len(batch) <= settings.prompts_a_batch and padding <= settings.padding_share * padded

    def _in_time(self, job: Job, padded: int) -> bool:
        left = job.deadline.remaining()
        if job.probe and padded == job.length:
            return left > 0.0
        return self._pass_time.seconds(padded) + self.settings.answer_seconds <= left

    def _seconds_ahead(self, lane: Lane) -> float:
        """Returns how long a new job of a lane would wait: the running pass, its own lane and those before it."""
        tokens = sum(job.length for job in self._up_to(lane))
        return self._busy_seconds() + self._pass_time.backlog_seconds(tokens, self.settings.tokens_a_batch)

    def _up_to(self, lane: Lane) -> list[Job]:
        return [job for each, jobs in self._lanes.items() if each <= lane for job in jobs]

    def _busy_seconds(self) -> float:
        return max(0.0, self._busy_until - self._clock())

    def _drop_cancelled(self) -> int:
        before = len(self)
        self._lanes = {lane: [job for job in jobs if not job.future.done()] for lane, jobs in self._lanes.items()}
        return before - len(self)
