"""What a choice of tier rests on, beside the policy."""

from dataclasses import dataclass

from router.cascade import Finding
from router.decision import Exclusion
from router.request import Constraints, Tier
from servicekit.errors import QuotaViolation


@dataclass(frozen=True)
class TierOption:
    """What is known of a tier for one request, beside the analysis. An unknown price is None."""

    tier: Tier
    estimated_cost_micros: int | None
    fits: bool = True
    takes_calls: bool = True
    affordable: bool = True


@dataclass(frozen=True)
class Facts:
    """All that a choice rests on. `quota` is the budget that stands in the way where a tier is not affordable."""

    finding: Finding
    options: tuple[TierOption, ...]
    constraints: Constraints
    session_tier: Tier | None = None
    price_revision: str = ""
    quota: QuotaViolation | None = None


def constraint_on(option: TierOption, constraints: Constraints) -> Exclusion | None:
    """Returns which of the caller's constraints, the context window among them, rules a tier out."""
    if constraints.min_tier is not None and option.tier < constraints.min_tier:
        return Exclusion.MIN_TIER
    if constraints.max_tier is not None and option.tier > constraints.max_tier:
        return Exclusion.MAX_TIER
    if not option.fits:
        return Exclusion.CONTEXT_WINDOW
    cost, limit = option.estimated_cost_micros, constraints.max_cost_micros
    return Exclusion.MAX_COST if limit is not None and (cost is None or cost > limit) else None
