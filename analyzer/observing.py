"""What the service tells whoever watches it: frozen facts, given to one listener."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

Trace = object
"""A caller's trace context: opaque here, captured and read by the observer alone."""


class Source(enum.StrEnum):
    """Where an analysis came from."""

    MODEL = "model"
    CACHE_EXACT = "cache_exact"
    CACHE_SIMILAR = "cache_similar"
    COALESCED = "coalesced"


@dataclass(frozen=True, slots=True)
class Interval:
    """From when to when, in seconds on the monotonic clock."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class BatchDone:
    """One forward pass: what was in it and how long it took."""

    revision: str
    forward: Interval
    prompt_count: int
    token_count: int
    padded_token_count: int
    waits_seconds: tuple[float, ...]
    traces: tuple[Trace, ...]
    failed: bool = False


@dataclass(frozen=True, slots=True)
class PromptDone:
    """One analysed prompt. Stages that did not happen are None."""

    revision: str
    source: Source
    whole: Interval
    trace: Trace
    tokenize: Interval | None = None
    queue: Interval | None = None
    forward: Interval | None = None
    batch: Trace = None
    """What `batch_done` returned for the forward pass it was in."""

    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A prompt that was not analysed; `reason` as in the error (UPPER_SNAKE_CASE)."""

    reason: str
    revision: str


@dataclass(frozen=True, slots=True)
class SimilarHitChecked:
    """A similar hit that was analysed after all; `wrong`: another model tier would have been chosen."""

    wrong: bool
    similar_cache_on: bool


@dataclass(frozen=True, slots=True)
class RevisionActivated:
    """Another revision answers from now on."""

    revision: str
    before: str | None


class Observer(Protocol):
    """Listens. It must be quick, and what it raises is its own affair (see `analyzer.adapters.telemetry`)."""

    def capture(self) -> Trace:
        """Returns the trace context of the call that is being served."""
        ...

    def batch_done(self, fact: BatchDone) -> Trace:
        """Returns what the forward spans of its prompts link to."""
        ...

    def prompt_done(self, fact: PromptDone) -> None: ...  # noqa: D102 - the facts say it

    def refused(self, fact: Refused) -> None: ...  # noqa: D102

    def similar_hit_checked(self, fact: SimilarHitChecked) -> None: ...  # noqa: D102

    def revision_activated(self, fact: RevisionActivated) -> None: ...  # noqa: D102


class SilentObserver:
    """Listens to nothing: the default."""

    def capture(self) -> Trace:
        """Returns nothing."""
        return None

    def batch_done(self, fact: BatchDone) -> Trace:  # noqa: ARG002
        """Returns nothing."""
        return None

    def prompt_done(self, fact: PromptDone) -> None:
        """Ignores it."""

    def refused(self, fact: Refused) -> None:
        """Ignores it."""

    def similar_hit_checked(self, fact: SimilarHitChecked) -> None:
        """Ignores it."""

    def revision_activated(self, fact: RevisionActivated) -> None:
        """Ignores it."""
