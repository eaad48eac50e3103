"""A choice of tier that explains itself."""

from dataclasses import dataclass
from enum import Enum

from router.analysis import Analysis, SkippedRung
from router.request import Tier


class Cause(Enum):
    """What settled a choice; values are the wire's names."""

    QUALITY_TARGET = "QUALITY_TARGET"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    CONSTRAINT = "CONSTRAINT"
    SESSION = "SESSION"
    BUDGET = "BUDGET"
    DEFAULT = "DEFAULT"


class Exclusion(Enum):
    """Why a tier may not be chosen; values are the wire's names."""

    MIN_TIER = "MIN_TIER"
    MAX_TIER = "MAX_TIER"
    MAX_COST = "MAX_COST"
    CONTEXT_WINDOW = "CONTEXT_WINDOW"
    BUDGET = "BUDGET"
    SESSION = "SESSION"
    NO_BACKEND = "NO_BACKEND"


@dataclass(frozen=True)
class TierEstimate:
    """What was predicted of one tier. An unknown price is None, never 0."""

    tier: Tier
    predicted_success: float
    estimated_cost_micros: int | None
    excluded_by: Exclusion | None = None

    @property
    def allowed(self) -> bool:
        """Whether the tier may be chosen."""
        return self.excluded_by is None


@dataclass(frozen=True)
class Decision:
    """The tier chosen, and all that is needed to see why. `analysis` is None when no rung answered."""

    tier: Tier
    cause: Cause
    considered: tuple[TierEstimate, ...]
    explanation: str
    analysis: Analysis | None
    skipped_rungs: tuple[SkippedRung, ...]
    policy_revision: str
    price_revision: str
    backend: str = ""
