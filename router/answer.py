"""What came back: attempts, tokens, money, time."""

from dataclasses import dataclass, field
from enum import Enum

from router.analysis import AnalyzerTimings
from router.decision import Decision
from router.request import Tier


class FinishReason(Enum):
    """Why an answer ends; values are the wire's names."""

    UNSPECIFIED = "UNSPECIFIED"
    STOP = "STOP"
    LENGTH = "LENGTH"
    CONTENT_FILTER = "CONTENT_FILTER"
    ERROR = "ERROR"


class AttemptOutcome(Enum):
    """How a call to a backend ended; values are the wire's names."""

    ANSWERED = "ANSWERED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNAVAILABLE = "UNAVAILABLE"
    BAD_REQUEST = "BAD_REQUEST"
    RATE_LIMITED = "RATE_LIMITED"
    TIMEOUT = "TIMEOUT"
    CUT_OFF = "CUT_OFF"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"
    BACKEND_ERROR = "BACKEND_ERROR"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Usage:
    """Tokens of one attempt. `output` includes `reasoning`, `input` includes `cached`."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer. Only the last one has a finish reason; usage may come with it or be missing."""

    text: str = field(default="", repr=False)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class BackendFailed(Exception):
    """Raised by a backend that did not answer, or not to the end. Never reaches a caller.

    `usage` is what the failed call used all the same, where the backend told.
    """

    def __init__(
        self,
        outcome: AttemptOutcome,
        detail: str = "",
        *,
        retry_after_seconds: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(detail or outcome.value)
        self.outcome = outcome
        self.retry_after_seconds = retry_after_seconds
        self.usage = usage


@dataclass(frozen=True)
class Attempt:
    """One call to a backend; times in seconds, an unknown price is None."""

    tier: Tier
    backend: str
    model: str
    outcome: AttemptOutcome
    duration: float
    time_to_first_token: float | None = None
    usage: Usage | None = None
    cost_micros: int | None = 0


@dataclass(frozen=True)
class Cost:
    """Money of a whole request in micro-dollars; None where a part has no known price."""

    total_micros: int | None
    analysis_micros: int = 0
    top_tier_micros: int | None = None
    estimated: bool = False
    price_revision: str = ""

    @property
    def saved_micros(self) -> int | None:
        """What was saved against always using the top tier; negative when routing cost more."""
        if self.total_micros is None or self.top_tier_micros is None:
            return None
        return self.top_tier_micros - self.total_micros


@dataclass(frozen=True)
class Timings:
    """Seconds spent; None where it did not happen."""

    total: float
    analysis: float | None = None
    plan: float | None = None
    dispatch: float | None = None
    time_to_first_token: float | None = None
    analyzer: AnalyzerTimings = field(default_factory=AnalyzerTimings)


@dataclass(frozen=True)
class Preview:
    """The decision that a request would get, and what it cost to make."""

    request_id: str
    decision: Decision
    cost: Cost
    timings: Timings
    trace_id: str = ""


@dataclass(frozen=True)
class Answer:
    """The whole answer to a request."""

    request_id: str
    text: str = field(repr=False)
    finish_reason: FinishReason
    decision: Decision
    attempts: tuple[Attempt, ...]
    usage: Usage
    cost: Cost
    timings: Timings
    trace_id: str = ""
