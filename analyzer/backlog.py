"""Prompts that wait for the engine: who is let in, who goes next together, who is dropped. Decides, never waits."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from analyzer.estimating import PassTime
from analyzer.observing import Trace
from servicekit.deadline import Deadline
from servicekit.errors import ResourceExhausted

QUEUE_FULL = "QUEUE_FULL"
DEADLINE_TOO_NEAR = "DEADLINE_TOO_NEAR"


class Lane(enum.IntEnum):
    """Who goes first."""

    SINGLE = 0
    BULK = 1


class Scorer(Protocol):
    """Makes forward passes with one model; prompts of two scorers never share a batch."""

    @property
    def revision(self) -> str:
        """The model's revision."""
        ...

    async def score(self, batch: Sequence[Sequence[int]]) -> Sequence[Sequence[float]]:
        """Returns the raw scores of each prompt, given as token ids."""
        ...


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


@dataclass(eq=False, slots=True)
class Job:
    """One prompt that waits; its future is settled exactly once."""

    token_ids: Sequence[int]
    scorer: Scorer
    deadline: Deadline
    lane: Lane
    trace: Trace
    enqueued_at: float
    future: asyncio.Future[object] = field(repr=False)
    probe: bool = False
    """Found the engine idle: computed even when the estimate says it comes too late, or a wrong estimate would last."""

    @property
    def length(self) -> int:
        """Its tokens."""
        return len(self.token_ids)


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
        self._settings = settings
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
        return sum(job.length for job in singles) >= self._settings.tokens_a_batch

    def admit(self, job: Job) -> None:
        """Takes a job in, or raises ResourceExhausted: no room, or its deadline can't be met."""
        ahead = self._seconds_ahead(job.lane)
        if self._waiting(job.lane) >= self._settings.most_waiting or ahead > self._settings.longest_wait_seconds:
            raise ResourceExhausted(
                QUEUE_FULL, "The analyzer's queue is full.", retry_after_seconds=max(ahead / 2, 0.01)
            )
        job.probe = not len(self) and not self._busy_seconds()
        own = self._pass_time.pessimistic_seconds(job.length) + self._settings.answer_seconds
        if ahead + own > job.deadline.remaining() and not (job.probe and job.deadline.remaining()):
            raise too_late(ahead)
        self._lanes[job.lane].append(job)

    def form(self) -> Formed:
        """Removes the next batch: the oldest job of the first lane that has any, and others of similar length."""
        cancelled = self._drop_cancelled()
        late: list[Job] = []
        for lane, jobs in self._lanes.items():
            while jobs:
                head = jobs[0]
                if not self._in_time(head, head.length):
                    late.append(jobs.pop(0))
                    continue
                batch = self._company(head, jobs, lane)
                self._lanes[lane] = [job for job in jobs if job not in batch]
                self._busy_until = self._clock() + self._pass_time.seconds(padded_tokens(batch))
                return Formed(tuple(batch), tuple(late), cancelled)
        return Formed((), tuple(late), cancelled)

    def done(self) -> None:
        """Notes that the engine is free."""
        self._busy_until = 0.0

    def clear(self) -> list[Job]:
        """Removes and returns all jobs."""
        jobs = [job for lane in self._lanes.values() for job in lane]
        self._lanes = {lane: [] for lane in Lane}
        return jobs

    def _company(self, head: Job, jobs: Sequence[Job], lane: Lane) -> list[Job]:
        """Returns the head and the jobs nearest to it in length, within tokens, padding and everybody's deadline."""
        settings = self._settings
        most_tokens = settings.tokens_a_batch if lane is Lane.SINGLE else settings.bulk_tokens_a_batch
        others = [job for job in jobs[1:] if job.scorer is head.scorer]
        others.sort(key=lambda job: abs(job.length - head.length))
        batch, tokens, longest, soonest = [head], head.length, head.length, head
        for job in others:
            grown = max(longest, job.length)
            padded = grown * (len(batch) + 1)
            if padded > most_tokens or len(batch) == settings.prompts_a_batch:
                break
            if padded - tokens - job.length > settings.padding_share * padded:
                break
            nearer = job if job.deadline.at < soonest.deadline.at else soonest
            if not self._in_time(nearer, padded):
                if nearer is job:
                    continue
                break
            batch.append(job)
            tokens, longest, soonest = tokens + job.length, grown, nearer
        return batch

    def _in_time(self, job: Job, padded: int) -> bool:
        left = job.deadline.remaining()
        if job.probe and padded == job.length:
            return left > 0.0
        return self._pass_time.seconds(padded) + self._settings.answer_seconds <= left

    def _seconds_ahead(self, lane: Lane) -> float:
        """Returns how long a new job of a lane would wait: the running pass, its own lane and those before it."""
        tokens = sum(job.length for each, jobs in self._lanes.items() if each <= lane for job in jobs)
        return self._busy_seconds() + self._pass_time.backlog_seconds(tokens, self._settings.tokens_a_batch)

    def _waiting(self, lane: Lane) -> int:
        return sum(len(jobs) for each, jobs in self._lanes.items() if each <= lane)

    def _busy_seconds(self) -> float:
        return max(0.0, self._busy_until - self._clock())

    def _drop_cancelled(self) -> int:
        before = len(self)
        self._lanes = {lane: [job for job in jobs if not job.future.done()] for lane, jobs in self._lanes.items()}
        return before - len(self)


def padded_tokens(batch: Sequence[Job]) -> int:
    """Returns what a pass over a batch really computes: every prompt as long as the longest."""
    return len(batch) * max(job.length for job in batch)


def too_late(retry_after_seconds: float) -> ResourceExhausted:
    """Returns the refusal of a prompt whose deadline can't be met."""
    return ResourceExhausted(
        DEADLINE_TOO_NEAR,
        "The analyzer can't answer within the deadline at its present load.",
        retry_after_seconds=max(retry_after_seconds, 0.01),
    )
