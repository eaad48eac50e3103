"""What a rung of the analysis cascade says of a prompt, or why it says nothing."""

from dataclasses import dataclass
from enum import Enum


class Task(Enum):
    """The kind of work a prompt asks for; values are the wire's names."""

    UNSPECIFIED = "UNSPECIFIED"
    KNOWLEDGE = "KNOWLEDGE"
    REASONING = "REASONING"
    MATH = "MATH"
    CODING = "CODING"
    WRITING = "WRITING"
    EXTRACTION = "EXTRACTION"
    TRANSLATION = "TRANSLATION"
    CONVERSATION = "CONVERSATION"
    OTHER = "OTHER"


class AnalysisSource(Enum):
    """Where an analysis comes from; values are the wire's names."""

    MODEL = "MODEL"
    CACHE_EXACT = "CACHE_EXACT"
    CACHE_SIMILAR = "CACHE_SIMILAR"
    COALESCED = "COALESCED"
    CLOUD_TINY = "CLOUD_TINY"
    NONE = "NONE"


class Rung(Enum):
    """A rung of the cascade that can be skipped; below them is the default tier."""

    SELF_HOSTED = "SELF_HOSTED"
    CLOUD_TINY = "CLOUD_TINY"


class SkipReason(Enum):
    """Why a rung gave no analysis; values are the wire's names."""

    BREAKER_OPEN = "BREAKER_OPEN"
    FORBIDDEN_BY_CALLER = "FORBIDDEN_BY_CALLER"
    DISABLED = "DISABLED"
    NO_TIME = "NO_TIME"
    TIMEOUT = "TIMEOUT"
    UNAVAILABLE = "UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    UNDECIDED = "UNDECIDED"
    BUDGET = "BUDGET"


@dataclass(frozen=True)
class AnalyzerTimings:
    """Seconds spent inside the analyzer; None where it did not happen."""

    queue: float | None = None
    tokenize: float | None = None
    forward: float | None = None


@dataclass(frozen=True)
class Analysis:
    """Predicted success at the reference abilities SMALL, MEDIUM, FRONTIER, never decreasing, and what goes with it."""

    success: tuple[float, float, float]
    confidence: float
    source: AnalysisSource
    task: Task = Task.UNSPECIFIED
    expected_output_tokens: int = 0
    prompt_token_count: int = 0
    truncated: bool = False
    revision: str = ""
    timings: AnalyzerTimings = AnalyzerTimings()
    cost_micros: int | None = 0

    @property
    def complexity(self) -> float:
        """How hard the prompt is for the weakest reference ability, 0 to 1."""
        return 1.0 - self.success[0]

    @property
    def expected_gain(self) -> float:
        """What the strongest reference ability adds over the weakest, 0 to 1."""
        return self.success[2] - self.success[0]


@dataclass(frozen=True)
class SkippedRung:
    """A rung that gave no analysis, and why."""

    rung: Rung
    reason: SkipReason


class RungFailed(Exception):
    """Raised by a rung that has no analysis to give. Never reaches a caller.

    `cost_micros` is what the failed attempt cost all the same (None: its price is not known), `retry_after_seconds`
    what the other side asked for.
    """

    def __init__(
        self, reason: SkipReason, *, retry_after_seconds: float | None = None, cost_micros: int | None = 0
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.cost_micros = cost_micros
