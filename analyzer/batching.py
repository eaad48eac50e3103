"""Micro-batching: one loop that hands the engine one batch after another.

The batch clock starts at the first waiting prompt. An idle service waits for nobody; one that is busy finds its next
batch waiting when a pass ends; only between these, when passes lately had company, a window of at most 2 ms is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from analyzer.backlog import Backlog, BacklogSettings
from analyzer.estimating import PassTime
from analyzer.jobs import Job, Scored, Wish, batch_fact, model_failed, padded_tokens, stopping, too_late
from analyzer.observing import Interval, Observer, Refused, SilentObserver
from servicekit.errors import ServiceError

_LONELY_SECONDS = 0.05  # so long after the last pass nobody is waiting for the same moment


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How batches are formed."""

    backlog: BacklogSettings = field(default_factory=BacklogSettings)
    longest_window_seconds: float = 0.002


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
        self.failures_in_a_row = 0
        self._pass_started: float | None = None

    def __repr__(self) -> str:
        return f"<MicroBatcher {self._backlog!r}, {self.pass_count} passes, company {self._company:.1f}>"

    @property
    def pass_time(self) -> PassTime:
        """The estimate of this engine's passes, to be taught by warm-up passes."""
        return self._pass_time

    @property
    def backlog_settings(self) -> BacklogSettings:
        """Bounds of the queue and of a batch."""
        return self._backlog.settings

    @property
    def running_seconds(self) -> float:
        """How long the present pass has been running; 0 when there is none."""
        return 0.0 if self._pass_started is None else self._clock() - self._pass_started

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not len(self._backlog)

    def reconfigure(self, settings: BatchSettings) -> None:
        """Changes bounds and window; holds from the next prompt on."""
        self._settings = settings
        self._backlog.settings = settings.backlog

    async def score(self, wish: Wish) -> Scored:
        """Returns the prompt's scores.

        Raises ResourceExhausted when there is no room or the deadline can't be met, Internal when the model failed,
        Unavailable when the service stops. A caller that is cancelled leaves the queue.
        """
        if self._closed:
            raise stopping()
        job = Job(wish, self._clock(), asyncio.get_running_loop().create_future())
        try:
            self._backlog.admit(job)
        except ServiceError as error:
            self._observer.refused(Refused(error.reason, wish.scorer.revision))
            raise
        self._arrived.set()
        return await job.future

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
                job.fail(stopping())

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
            self._observer.refused(Refused("DEADLINE_TOO_NEAR", job.wish.scorer.revision))
            job.fail(too_late(self._pass_time.seconds(job.length)))
        if formed.batch:
            self._pass_started = self._clock()
            await self._forward(formed.batch)
            self._pass_started = None
            self._backlog.done()
            self._idle_since = self._clock()
        if self.idle:
            self._arrived.clear()

    async def _forward(self, batch: tuple[Job, ...]) -> None:
        """Makes one pass and answers everybody in it, whatever happens."""
        scorer, started = batch[0].wish.scorer, self._clock()
        self._company += 0.2 * (len(batch) - self._company)
        try:
            scores = await scorer.score([job.wish.token_ids for job in batch])
            outcomes = list(zip(batch, scores, strict=True))
        except asyncio.CancelledError:
            for job in batch:
                job.fail(stopping())
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine raised, nobody may be left waiting
            self._failed(batch, started, error)
            return
        forward = Interval(started, self._clock())
        self.pass_count, self.failures_in_a_row = self.pass_count + 1, 0
        self._pass_time.observe(padded_tokens(batch), forward.seconds)
        link = self._observer.batch_done(batch_fact(batch, forward, failed=False))
        for job, each in outcomes:
            job.settle(Scored(each, Interval(job.enqueued_at, started), forward, len(batch), link))

    def _failed(self, batch: tuple[Job, ...], started: float, error: Exception) -> None:
        self.failures_in_a_row += 1
        self._observer.batch_done(batch_fact(batch, Interval(started, self._clock()), failed=True))
        for job in batch:
            job.fail(model_failed(error))


def running(batcher: MicroBatcher, stack: contextlib.AsyncExitStack) -> asyncio.Task[None]:
    """Starts a batcher's loop and has the stack end it. To be called with an event loop running."""
    task = asyncio.create_task(batcher.run(), name="micro-batcher")

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)
    return task
