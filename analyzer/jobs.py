"""A prompt on its way through the queue and the engine, settled exactly once."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from analyzer.observing import BatchDone, Interval, Trace
from servicekit.deadline import Deadline
from servicekit.errors import Internal, ResourceExhausted, ServiceError, Unavailable

QUEUE_FULL = "QUEUE_FULL"
DEADLINE_TOO_NEAR = "DEADLINE_TOO_NEAR"

_SHORTEST_RETRY_SECONDS = 0.01


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
class Wish:
    """A prompt to score: token ids for a model, until a deadline."""

    token_ids: Sequence[int]
    scorer: Scorer
    deadline: Deadline
    lane: Lane = Lane.SINGLE
    trace: Trace = None


@dataclass(frozen=True, slots=True)
class Scored:
    """The raw scores of one prompt, and where its time went."""

    scores: Sequence[float]
    queue: Interval
    forward: Interval
    batch_size: int
    batch: Trace


@dataclass(eq=False, slots=True)
class Job:
    """A wish that waits."""

    wish: Wish
    enqueued_at: float
    future: asyncio.Future[Scored] = field(repr=False)
    probe: bool = False
    """Found the engine idle: computed even when the estimate says it comes too late, or a wrong estimate would last."""

    @property
    def length(self) -> int:
        """Its tokens."""
        return len(self.wish.token_ids)

    @property
    def deadline(self) -> Deadline:
        """By when it is of use."""
        return self.wish.deadline

    def settle(self, scored: Scored) -> None:
        """Gives the answer, unless the caller has left."""
        if not self.future.done():
            self.future.set_result(scored)

    def fail(self, error: ServiceError) -> None:
        """Gives the reason why there is no answer, unless the caller has left."""
        if not self.future.done():
            self.future.set_exception(error)


def padded_tokens(batch: Sequence[Job]) -> int:
    """Returns what a pass over a batch really computes: every prompt as long as the longest."""
    return len(batch) * max(job.length for job in batch)


def batch_fact(batch: Sequence[Job], forward: Interval, *, failed: bool) -> BatchDone:
    """Returns what a listener is told of a pass."""
    return BatchDone(
        revision=batch[0].wish.scorer.revision,
        forward=forward,
        prompt_count=len(batch),
        token_count=sum(job.length for job in batch),
        padded_token_count=padded_tokens(batch),
        waits_seconds=tuple(forward.start - job.enqueued_at for job in batch),
        traces=tuple(job.wish.trace for job in batch),
        failed=failed,
    )


def queue_full(retry_after_seconds: float) -> ResourceExhausted:
    """Returns the refusal at the door."""
    return ResourceExhausted(
        QUEUE_FULL,
        "The analyzer's queue is full.",
        retry_after_seconds=max(retry_after_seconds, _SHORTEST_RETRY_SECONDS),
    )


def too_late(retry_after_seconds: float) -> ResourceExhausted:
    """Returns the refusal of a prompt whose deadline can't be met."""
    return ResourceExhausted(
        DEADLINE_TOO_NEAR,
        "The analyzer can't answer within the deadline at its present load.",
        retry_after_seconds=max(retry_after_seconds, _SHORTEST_RETRY_SECONDS),
    )


def stopping() -> Unavailable:
    """Returns what those who still wait are told at the end."""
    return Unavailable("STOPPING", "The analyzer is stopping; another replica will answer.")


def model_failed(error: Exception) -> Internal:
    """Returns what those in a failed pass are told."""
    failure = Internal("MODEL_FAILED", "The model failed on this prompt.")
    failure.__cause__ = error
    return failure
