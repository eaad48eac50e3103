"""A choice in one plain sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

from router.analysis import Rung
from router.cascade import Finding
from router.decision import Cause, Exclusion, TierEstimate
from router.request import Tier
from servicekit.errors import QuotaViolation

AGAINST: Mapping[Exclusion, str] = {
    Exclusion.MIN_TIER: "the caller's min_tier rules out {tier}",
    Exclusion.MAX_TIER: "the caller's max_tier rules out {tier}",
    Exclusion.MAX_COST: "{tier} costs more than the caller's max_cost, or its price is not known",
    Exclusion.CONTEXT_WINDOW: "the prompt does not fit into the context window of {tier}",
    Exclusion.BUDGET: "the tenant's budget does not pay for {tier}",
    Exclusion.SESSION: "the session has already gone above {tier}",
    Exclusion.NO_BACKEND: "no backend of {tier} takes calls",
}

RUNGS: Mapping[Rung, str] = {Rung.SELF_HOSTED: "self-hosted analyzer", Rung.CLOUD_TINY: "cloud tiny model"}


@dataclass(frozen=True)
class Choosing:
    """A choice to be explained: the tier, and the tier but for the rule that settled it."""

    tier: Tier
    otherwise: Tier
    cause: Cause
    considered: tuple[TierEstimate, ...]
    finding: Finding
    quality_target: float

    def estimate(self, tier: Tier) -> TierEstimate:
        """Returns what was predicted of a tier."""
        return next(estimate for estimate in self.considered if estimate.tier is tier)


def explain(choosing: Choosing) -> str:
    """Returns why a tier was chosen, as a sentence."""
    name, otherwise = choosing.tier.name, choosing.otherwise.name
    if choosing.cause is Cause.DEFAULT:
        return f"{name}, because there is no analysis to choose by ({_skipped(choosing.finding)})."
    if choosing.cause is Cause.QUALITY_TARGET:
        return _explain_target(choosing)
    if choosing.cause is Cause.LOW_CONFIDENCE:
        confidence = choosing.finding.analysis.confidence if choosing.finding.analysis else 0.0
        return f"{name}, one tier above {otherwise}, because the analysis is only {confidence:.0%} sure."
    return f"{name} instead of {otherwise}, because {_objection(choosing)}."


def explain_refusal(against: Mapping[Tier, Exclusion | None]) -> str:
    """Returns why no tier is left, as a sentence."""
    reasons = [AGAINST[why].format(tier=tier.name) for tier, why in against.items() if why is not None]
    return f"No tier is allowed: {'; '.join(reasons)}." if reasons else "No tier is configured."


def explain_budget(quota: QuotaViolation | None) -> str:
    """Returns which budget is spent, as a sentence."""
    if quota is None:
        return "The budget does not pay for any allowed tier."
    return (
        f"The budget {quota.subject} does not pay for any allowed tier: {quota.spent_micros} of {quota.limit_micros} "
        f"micro-dollars are spent or reserved; it resets in {quota.reset_seconds:.0f} s."
    )


def _explain_target(choosing: Choosing) -> str:
    best = max(estimate.predicted_success for estimate in choosing.considered if estimate.allowed)
    own = choosing.estimate(choosing.tier).predicted_success
    return (
        f"{choosing.tier.name} is the cheapest allowed tier whose predicted success ({own:.2f}) reaches "
        f"{choosing.quality_target:.0%} of the best allowed tier's ({best:.2f})."
    )


def _objection(choosing: Choosing) -> str:
    """Returns what rules the other tier out or, where nothing does, what rules out others."""
    other = choosing.estimate(choosing.otherwise)
    estimates = choosing.considered if other.allowed else (other,)
    return "; ".join(AGAINST[each.excluded_by].format(tier=each.tier.name) for each in estimates if each.excluded_by)


def _skipped(finding: Finding) -> str:
    if not finding.skipped:
        return "no rung was asked"
    return ", ".join(f"{RUNGS[skip.rung]}: {skip.reason.value.lower().replace('_', ' ')}" for skip in finding.skipped)
