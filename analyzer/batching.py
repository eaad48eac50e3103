"""Micro-batching: one loop that hands the engine one batch after another.

The batch clock starts at the first waiting prompt. An idle service waits for nobody; one that is busy finds its next
batch waiting when a pass ends; only between these, when passes lately had company, a window of at most 2 ms is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analyzer.backlog import Backlog, BacklogSettings, Job, Lane, Scorer, padded_tokens, too_late
from analyzer.estimating import PassTime
from analyzer.observing import BatchDone, Interval, Observer, Refused, SilentObserver, Trace
from servicekit.deadline import Deadline
from servicekit.errors import Internal, ServiceError, Unavailable

_LONELY_SECONDS = 0.05  # so long after the last pass nobody is waiting for the same moment


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How batches are formed."""

    backlog: BacklogSettings = field(default_factory=BacklogSettings)
    longest_window_seconds: float = 0.002


@dataclass(frozen=True, slots=True)
class Scored:
    """The raw scores of one prompt, and where its time went."""

    scores: Sequence[float]
    queue: Interval
    forward: Interval
    batch_size: int
    batch: Trace


@dataclass(frozen=True, slots=True)
class Wish:
    """A prompt to score: token ids for a model, until a deadline."""

    token_ids: Sequence[int]
    scorer: Scorer
    deadline: Deadline
    lane: Lane = Lane.SINGLE
    trace: Trace = None


class MicroBatcher:
    """The queue in front of one engine."""

    def __init__(
        self,
        settings: BatchSettings | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or BatchSettings()
        self._observer = observer or SilentObserver()
        self._clock = clock
        self._pass_time = PassTime()
        self._backlog = Backlog(self._settings.backlog, self._pass_time, clock)
        self._arrived = asyncio.Event()
        self._company = 1.0
        self._idle_since = float("-inf")
        self._closed = False
        self.pass_count = 0

    def __repr__(self) -> str:
        return f"<MicroBatcher {self._backlog!r}, {self.pass_count} passes, company {self._company:.1f}>"

    @property
    def pass_time(self) -> PassTime:
        """The estimate of this engine's passes, to be taught by warm-up passes."""
        return self._pass_time

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not len(self._backlog)

    async def score(self, wish: Wish) -> Scored:
        """Returns the prompt's scores.

        Raises ResourceExhausted when there is no room or the deadline can't be met, Internal when the model failed,
        Unavailable when the service stops. A caller that is cancelled leaves the queue.
        """
        if self._closed:
            raise _stopping()
        job = Job(
            wish.token_ids,
            wish.scorer,
            wish.deadline,
            wish.lane,
            wish.trace,
            self._clock(),
            asyncio.get_running_loop().create_future(),
        )
        try:
            self._backlog.admit(job)
        except ServiceError as error:
            self._observer.refused(Refused(error.reason, wish.scorer.revision))
            raise
        self._arrived.set()
        scored = await job.future
        assert isinstance(scored, Scored)  # noqa: S101 - set by _settle alone
        return scored

    async def run(self) -> None:
        """Works until cancelled; whoever waits then is answered UNAVAILABLE."""
        try:
            while True:
                await self._arrived.wait()
                await self._window()
                await self._next()
        finally:
            self._closed = True
            for job in self._backlog.clear():
                _fail(job, _stopping())

    async def _window(self) -> None:
        """Leaves the batch open for others, from its first prompt's arrival, for as long as that pays."""
        oldest = self._backlog.oldest_at
        if oldest is None or self._backlog.fills_a_batch:
            return
        window = self._settings.longest_window_seconds * min(1.0, (self._company - 1.0) / 2.0)
        if self._clock() - self._idle_since > _LONELY_SECONDS:
            window, self._company = 0.0, 1.0
        left = oldest + window - self._clock()
        if left > 0.0:
            await asyncio.sleep(left)

    async def _next(self) -> None:
        formed = self._backlog.form()
        for job in formed.late:
            self._observer.refused(Refused("DEADLINE_TOO_NEAR", job.scorer.revision))
            _fail(job, too_late(self._pass_time.seconds(job.length)))
        if formed.batch:
            await self._forward(formed.batch)
            self._backlog.done()
            self._idle_since = self._clock()
        if self.idle:
            self._arrived.clear()

    async def _forward(self, batch: tuple[Job, ...]) -> None:
        """Makes one pass and answers everybody in it, whatever happens."""
        scorer, started = batch[0].scorer, self._clock()
        self._company += 0.2 * (len(batch) - self._company)
        try:
            scores = await scorer.score([job.token_ids for job in batch])
            outcomes = list(zip(batch, scores, strict=True))
        except asyncio.CancelledError:
            for job in batch:
                _fail(job, _stopping())
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine raised, nobody may be left waiting
            self._failed(batch, started, error)
            return
        forward = Interval(started, self._clock())
        self.pass_count += 1
        self._pass_time.observe(padded_tokens(batch), forward.seconds)
        link = self._observer.batch_done(_fact(batch, forward, failed=False))
        for job, each in outcomes:
            _settle(job, Scored(each, Interval(job.enqueued_at, started), forward, len(batch), link))

    def _failed(self, batch: tuple[Job, ...], started: float, error: Exception) -> None:
        self._observer.batch_done(_fact(batch, Interval(started, self._clock()), failed=True))
        for job in batch:
            failure = Internal("MODEL_FAILED", "The model failed on this prompt.")
            failure.__cause__ = error
            _fail(job, failure)


def running(batcher: MicroBatcher, stack: contextlib.AsyncExitStack) -> asyncio.Task[None]:
    """Starts a batcher's loop and has the stack end it. To be called with an event loop running."""
    task = asyncio.create_task(batcher.run(), name="micro-batcher")

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)
    return task


def _fact(batch: Sequence[Job], forward: Interval, *, failed: bool) -> BatchDone:
    return BatchDone(
        revision=batch[0].scorer.revision,
        forward=forward,
        prompt_count=len(batch),
        token_count=sum(job.length for job in batch),
        padded_token_count=padded_tokens(batch),
        waits_seconds=tuple(forward.start - job.enqueued_at for job in batch),
        traces=tuple(job.trace for job in batch),
        failed=failed,
    )


def _settle(job: Job, scored: Scored) -> None:
    if not job.future.done():
        job.future.set_result(scored)


def _fail(job: Job, error: ServiceError) -> None:
    if not job.future.done():
        job.future.set_exception(error)


def _stopping() -> Unavailable:
    return Unavailable("STOPPING", "The analyzer is stopping; another replica will answer.")
