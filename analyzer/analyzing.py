"""The story of one analysis: the caches, the queue, the engine, the judge."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from analyzer.analysis import Analysis
from analyzer.batching import MicroBatcher
from analyzer.caching import AnalysisCache, PromptKeys, SimilarHit
from analyzer.conversation import Prompt
from analyzer.false_hits import FalseHits, FalseHitSettings
from analyzer.flights import Flights
from analyzer.framing import Frame
from analyzer.jobs import Lane, Scored, Wish
from analyzer.models import Model, Models
from analyzer.observing import Interval, Observer, PromptDone, SilentObserver, SimilarHitChecked, Source, Trace
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, ResourceExhausted, ServiceError

_LONG_CHARACTERS = 8_192  # beyond, reading the text takes long enough to be done beside the event loop
_CHECK_SECONDS = 10.0
_BULK_AT_ONCE = 64  # prompts of one call in the queue: enough for full batches, and room for others

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Finding:
    """An analysis and where it came from."""

    analysis: Analysis
    revision: str
    source: Source
    similarity: float | None = None
    tokenize: Interval | None = None
    scored: Scored | None = None
    """Times and batch of the forward pass, when one was made for this prompt."""


class PromptAnalyzer:
    """Analyses prompts with whatever model is active."""

    def __init__(
        self,
        models: Models,
        batcher: MicroBatcher,
        cache: AnalysisCache | None = None,
        *,
        false_hits: FalseHitSettings | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._models = models
        self._batcher = batcher
        self._cache = cache or AnalysisCache()
        self._observer = observer or SilentObserver()
        self._clock = clock
        self._draw = draw
        self._flights: Flights[Finding] = Flights(personal=(ResourceExhausted, DeadlineExceeded))
        self._checks: set[asyncio.Task[None]] = set()
        self.false_hits = FalseHits(false_hits)

    def __repr__(self) -> str:
        return f"<PromptAnalyzer {self._cache!r}, {self._flights!r}, {self.false_hits!r}, {self._batcher!r}>"

    async def analyze(self, prompt: Prompt) -> Finding:
        """Returns the analysis of one prompt.

        Raises Unavailable without a model, DeadlineExceeded, and what the queue raises.
        """
        started, trace = self._clock(), self._observer.capture()
        model = self._models.answering()
        try:
            async with asyncio.timeout(prompt.deadline.remaining()):
                finding = await self._found(prompt, model)
        except TimeoutError as error:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "The analysis did not end within the deadline.") from error
        self._observer.prompt_done(_fact(finding, Interval(started, self._clock()), trace))
        return finding

    async def analyze_many(self, prompts: Sequence[Prompt]) -> list[Finding | ServiceError]:
        """Returns the analysis of each prompt, or its error, in their order; near-duplicates are computed once."""
        room = asyncio.Semaphore(_BULK_AT_ONCE)
        tasks = []
        for prompt in prompts:
            tasks.append(asyncio.create_task(self._analyzed(prompt, room)))
            await asyncio.sleep(0)  # single calls come in between
        try:
            return [await task for task in tasks]
        finally:
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        """Ends the checks in the background."""
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    async def _analyzed(self, prompt: Prompt, room: asyncio.Semaphore) -> Finding | ServiceError:
        try:
            async with room:
                return await self.analyze(prompt)
        except ServiceError as error:
            return error

    async def _found(self, prompt: Prompt, model: Model) -> Finding:
        if prompt.bypass_cache:
            return await self._computed(prompt, model)
        keys = await self._read(prompt, lambda: self._cache.exact_keys(prompt, model.revision))
        if (kept := self._cache.exact(keys)) is not None:
            return Finding(kept, model.revision, Source.CACHE_EXACT)
        if (flight := self._flights.find(_in_lanes(keys.exact, prompt.lane))) is not None:
            if (finding := await self._flights.join(flight)) is not None:
                return Finding(finding.analysis, finding.revision, Source.COALESCED)
            return await self._found(prompt, model)
        return await self._similar_or_computed(prompt, model, keys)

    async def _similar_or_computed(self, prompt: Prompt, model: Model, exact: PromptKeys) -> Finding:
        keys = await self._read(prompt, lambda: self._cache.with_similar_key(exact, prompt, model.revision))
        if self.false_hits.cache_on:
            if keys.similar is not None:
                flight = self._flights.find(_in_lanes(keys.similar, prompt.lane))
                if flight is not None:
                    await self._flights.join(flight)  # what it finds is in the cache then
            if (hit := self._cache.similar(keys)) is not None:
                return await self._similar(prompt, model, hit)
        flight_keys = [key + bytes([prompt.lane]) for key in (keys.exact, keys.similar) if key is not None]
        return await self._flights.lead(flight_keys, self._computed_and_kept(prompt, model, keys))

    async def _similar(self, prompt: Prompt, model: Model, hit: SimilarHit) -> Finding:
        if self.false_hits.is_checked(self._draw()):
            task = asyncio.create_task(self._check(prompt, model, hit))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)
        frame, tokenize = await self._framed(prompt, model)
        analysis = replace(hit.analysis, prompt_token_count=frame.prompt_token_count, truncated=frame.truncated)
        return Finding(analysis, model.revision, Source.CACHE_SIMILAR, hit.similarity, tokenize)

    async def _check(self, prompt: Prompt, model: Model, hit: SimilarHit) -> None:
        """Analyses a similar hit after all, behind everything else."""
        later = replace(prompt, lane=Lane.BULK, deadline=Deadline.after(_CHECK_SECONDS))
        try:
            finding = await self._computed(later, model)
        except ServiceError:
            return  # a busy service has better to do
        self._checked(hit, finding.analysis)

    def _checked(self, hit: SimilarHit, anew: Analysis) -> None:
        wrong = self.false_hits.record(hit.analysis, anew)
        self._observer.similar_hit_checked(SimilarHitChecked(wrong, self.false_hits.cache_on))

    async def _computed_and_kept(self, prompt: Prompt, model: Model, keys: PromptKeys) -> Finding:
        finding = await self._computed(prompt, model)
        if (hit := self._cache.similar(keys)) is not None:
            self._checked(hit, finding.analysis)  # the similar cache is off: a check for nothing
        self._cache.keep(keys, finding.analysis)
        return finding

    async def _computed(self, prompt: Prompt, model: Model) -> Finding:
        frame, tokenize = await self._framed(prompt, model)
        wish = Wish(frame.token_ids, model.scorer, prompt.deadline, prompt.lane, self._observer.capture())
        scored = await self._batcher.score(wish)
        analysis = model.judge.judge(scored.scores, frame)
        return Finding(analysis, model.revision, Source.MODEL, tokenize=tokenize, scored=scored)

    async def _framed(self, prompt: Prompt, model: Model) -> tuple[Frame, Interval]:
        started = self._clock()
        frame = await self._read(prompt, lambda: model.frame(prompt.messages))
        return frame, Interval(started, self._clock())

    async def _read(self, prompt: Prompt, work: Callable[[], _Read]) -> _Read:
        """Does work that grows with the text: beside the event loop when the text is long."""
        if prompt.character_count > _LONG_CHARACTERS:
            return await asyncio.to_thread(work)
        return work()


def _in_lanes(key: bytes, lane: Lane) -> list[bytes]:
    """Returns the keys of flights a prompt may join: a single call never waits for a bulk one."""
    return [key + bytes([each]) for each in Lane if each <= lane]


def _fact(finding: Finding, whole: Interval, trace: Trace) -> PromptDone:
    scored = finding.scored
    return PromptDone(
        revision=finding.revision,
        source=finding.source,
        whole=whole,
        trace=trace,
        tokenize=finding.tokenize,
        queue=scored.queue if scored else None,
        forward=scored.forward if scored else None,
        batch=scored.batch if scored else None,
        similarity=finding.similarity,
    )
