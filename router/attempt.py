"""One call to one backend, from its permit to its bill."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from router.answer import Attempt, AttemptOutcome, BackendFailed, Chunk, FinishReason, Usage
from router.breaker import Permit
from router.fleet import Guarded
from router.itinerary import CONSEQUENCES, Blame
from router.observer import AttemptFinished, Fault, FirstToken, Observer, notify
from router.ports import TokenEstimator, WallClock
from router.pricing import PriceBook
from router.request import RouteRequest
from servicekit.deadline import Clock, Deadline


@dataclass(frozen=True)
class Surroundings:
    """What every attempt needs and none owns."""

    tokens: TokenEstimator
    observer: Observer
    clock: Clock
    now: WallClock


@dataclass(frozen=True)
class Call:
    """What is asked of a backend: by when the first token has to come, and by when the last one.

    `fair` tells whether the time until the first token is long enough to blame the backend for missing it.
    """

    request: RouteRequest
    prompt_tokens: int
    max_output_tokens: int
    first_token_by: Deadline
    deadline: Deadline
    fair: bool
    prices: PriceBook


class Trial:
    """A call under way; `result` is what it came to, once `texts` has ended."""

    def __init__(self, candidate: Guarded, permit: Permit, call: Call, surroundings: Surroundings) -> None:
        self.candidate = candidate
        self.text: list[str] = []
        self.finish_reason: FinishReason | None = None
        self.retry_after_seconds: float | None = None
        self.result: Attempt | None = None
        self._permit = permit
        self._call = call
        self._around = surroundings
        self._started = surroundings.clock()
        self._first_token: float | None = None
        self._usage: Usage | None = None

    async def texts(self) -> AsyncGenerator[str, None]:
        """Yields the pieces of the answer. What the backend does wrong ends them and is in `result`, never raised."""
        outcome = AttemptOutcome.CANCELLED
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    self._take(chunk)
                    if chunk.text:
                        yield chunk.text
            outcome = self._outcome_at_the_end()
        except BackendFailed as failure:
            outcome = failure.outcome
            self._usage = failure.usage or self._usage
            self.retry_after_seconds = failure.retry_after_seconds
        except TimeoutError:
            outcome = AttemptOutcome.CUT_OFF if self.text else AttemptOutcome.TIMEOUT
        except Exception as error:  # noqa: BLE001 - a bug in an adapter costs an attempt, not an answer
            outcome = AttemptOutcome.BACKEND_ERROR
            notify(self._around.observer.fault, Fault(f"backend {self.candidate.backend.name}", error))
        finally:
            self._close(outcome)

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yields chunks; raises TimeoutError when the first or the last one comes too late."""
        call = self._call
        stream = self.candidate.backend.stream(call.request, call.max_output_tokens, call.deadline)
        try:
            while True:
                limit = call.deadline if self.text else call.first_token_by
                async with asyncio.timeout(limit.remaining()):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                yield chunk
        finally:
            await _close(stream)

    def _take(self, chunk: Chunk) -> None:
        if chunk.text:
            if not self.text:
                self._note_first_token()
            self.text.append(chunk.text)
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self._usage = chunk.usage or self._usage

    def _note_first_token(self) -> None:
        self._first_token = self._around.clock() - self._started
        self._permit = self.candidate.breaker.alive(self._permit)
        fact = FirstToken(self._call.request.request_id, self.candidate.backend.name, self._first_token)
        notify(self._around.observer.first_token, fact)

    def _outcome_at_the_end(self) -> AttemptOutcome:
        if self.finish_reason is None:
            return AttemptOutcome.CUT_OFF
        filtered = self.finish_reason is FinishReason.CONTENT_FILTER
        return AttemptOutcome.CONTENT_FILTERED if filtered else AttemptOutcome.ANSWERED

    def _close(self, outcome: AttemptOutcome) -> None:
        backend = self.candidate.backend
        usage = self._usage or self._estimate(outcome)
        self.result = Attempt(
            tier=backend.tier,
            backend=backend.name,
            model=backend.model,
            outcome=outcome,
            duration=self._around.clock() - self._started,
            time_to_first_token=self._first_token,
            usage=usage,
            cost_micros=0 if usage is None else self._call.prices.price(usage, backend.model, self._around.now()),
        )
        self._tell_breaker(outcome)
        notify(self._around.observer.attempt_finished, AttemptFinished(self._call.request.request_id, self.result))

    def _estimate(self, outcome: AttemptOutcome) -> Usage | None:
        """Returns what the backend did not tell: nothing if it has not read the prompt."""
        if not (self.text or CONSEQUENCES[outcome].read):
            return None
        return Usage(self._call.prompt_tokens, self._around.tokens.text("".join(self.text)), estimated=True)

    def _tell_breaker(self, outcome: AttemptOutcome) -> None:
        breaker, blame = self.candidate.breaker, CONSEQUENCES[outcome].blame
        if outcome is AttemptOutcome.CANCELLED or self._was_hurried(outcome):
            breaker.left(self._permit)
        elif blame is Blame.NONE:
            breaker.succeeded(self._permit)
        elif blame is Blame.WAIT:
            breaker.told_to_wait(self._permit, self.retry_after_seconds)
        else:
            breaker.failed(self._permit)

    def _was_hurried(self, outcome: AttemptOutcome) -> bool:
        """Whether the caller's time, not the backend's health, ended the call."""
        if outcome is AttemptOutcome.CUT_OFF:
            return self._call.deadline.expired()
        return CONSEQUENCES[outcome].blame is Blame.LATE and not self._call.fair


async def _close(stream: AsyncIterator[Chunk]) -> None:
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()
