"""Scripted stand-ins for what the core calls, to test it and what is built on it without a network or a clock."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from router.analysis import Analysis, AnalysisSource, Rung
from router.answer import BackendFailed, Chunk, FinishReason, Usage
from router.observer import Observer
from router.records import RequestRecord
from router.request import Message, Role, RouteRequest, Tier
from servicekit.deadline import Deadline


@dataclass
class ManualClock:
    """A clock that stands still until it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        """Returns the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves the time on."""
        self.now += seconds


@dataclass(frozen=True)
class Pause:
    """A step of a script: nothing happens for so long, on the event loop's clock."""

    seconds: float


class Hang:
    """A step of a script: nothing happens ever after."""


Act = str | Chunk | Usage | Pause | Hang | BaseException
"""A step of an answer: text, a chunk, the usage of its end, waiting, or a failure."""


@dataclass
class FakeBackend:
    """Answers call after call as scripted; the last script is used again and again.

    A script is one step or several. One that ends in text, or in usage, is ended with STOP.
    """

    script: Sequence[Act | Sequence[Act]] = ("hello",)
    name: str = "fake"
    tier: Tier = Tier.SMALL
    model: str = "fake-model"
    weight: float = 1.0
    context_window: int = 8192
    max_output_tokens: int = 1024
    calls: list[tuple[RouteRequest, int]] = field(default_factory=list)
    open_calls: int = 0

    async def stream(
        self, request: RouteRequest, max_output_tokens: int, _deadline: Deadline
    ) -> AsyncGenerator[Chunk, None]:
        """Yields the next script's chunks."""
        steps = self.script[min(len(self.calls), len(self.script) - 1)]
        self.calls.append((request, max_output_tokens))
        self.open_calls += 1
        try:
            async with aclosing(play([steps] if isinstance(steps, Act) else steps)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.open_calls -= 1


async def play(steps: Sequence[Act]) -> AsyncGenerator[Chunk, None]:
    """Yields the chunks of one script."""
    finished = False
    for step in steps:
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Hang):
            await asyncio.Event().wait()
        else:
            chunk = as_chunk(step)
            finished = chunk.finish_reason is not None
            yield chunk
    if not finished and not isinstance(steps[-1], Chunk):
        yield Chunk(finish_reason=FinishReason.STOP)


def as_chunk(step: str | Chunk | Usage) -> Chunk:
    """Returns what a step of text, or the usage at its end, is as a chunk."""
    if isinstance(step, str):
        return Chunk(step)
    return Chunk(finish_reason=FinishReason.STOP, usage=step) if isinstance(step, Usage) else step


@dataclass
class FakeRung:
    """Gives analysis after analysis, or failure, as scripted; the last one again and again."""

    script: Sequence[Analysis | BaseException | Pause | Hang]
    name: Rung = Rung.SELF_HOSTED
    deadlines: list[float] = field(default_factory=list)

    async def analyze(self, _request: RouteRequest, deadline: Deadline) -> Analysis:
        """Returns or raises the next step; waiting is followed by the step after it."""
        self.deadlines.append(deadline.remaining())
        step = self.script[min(len(self.deadlines) - 1, len(self.script) - 1)]
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return an_analysis()
        if isinstance(step, Hang):
            await asyncio.Event().wait()
        if isinstance(step, Analysis):
            return step
        raise step if isinstance(step, BaseException) else AssertionError("unreachable")


@dataclass
class ListLedger:
    """Keeps records in a list, or fails."""

    records: list[RequestRecord] = field(default_factory=list)
    failure: Exception | None = None

    def append(self, record: RequestRecord) -> None:
        """Keeps the record."""
        if self.failure is not None:
            raise self.failure
        self.records.append(record)


class RecordingObserver(Observer):
    """Remembers every fact it is told."""

    def __init__(self) -> None:
        self.facts: list[Any] = []
        for method in vars(Observer):
            if not method.startswith("_") and method != "stage":
                setattr(self, method, self.facts.append)

    def of(self, kind: type[Any]) -> list[Any]:
        """Returns the facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]


def an_analysis(*success: float, confidence: float = 1.0, **fields: Any) -> Analysis:
    """Returns an analysis with these predictions, of an easy prompt unless told."""
    weak, middle, strong = success or (0.9, 0.92, 0.94)
    return Analysis((weak, middle, strong), confidence, **({"source": AnalysisSource.MODEL} | fields))


def a_request(text: str = "What is the capital of France?", **fields: Any) -> RouteRequest:
    """Returns a request of one message."""
    return RouteRequest(**({"request_id": "r-1", "tenant": "acme", "messages": (Message(Role.USER, text),)} | fields))


def failed(outcome: Any, **fields: Any) -> BackendFailed:
    """Returns the failure of a backend, as a step of a script."""
    return BackendFailed(outcome, **fields)
