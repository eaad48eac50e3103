"""The policy: from what is known of a request to a tier, and the reasons. Pure: same facts, same choice.

Rules in order of precedence, strongest first: the caller's constraints and the context window, the tenant's budget, the
session's earlier tier, low confidence, the analysis. A choice's cause is the strongest rule that stands against what
would have been chosen without it.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from router.abilities import Recalibration, success_at, unchanged
from router.analysis import Analysis
from router.decision import Cause, Decision, Exclusion, TierEstimate
from router.explanation import Choosing, explain, explain_budget, explain_refusal
from router.facts import Facts, TierOption, constraint_on
from router.request import Tier
from servicekit.errors import FailedPrecondition, ResourceExhausted, Unavailable

REFERENCE_ABILITIES: Mapping[Tier, float] = {Tier.SMALL: 0.0, Tier.MEDIUM: 1.0, Tier.LARGE: 2.0}

EXCLUDING: Mapping[Exclusion | None, Cause] = {Exclusion.BUDGET: Cause.BUDGET, Exclusion.SESSION: Cause.SESSION}
"""The rule that excludes so; the rest are the caller's constraints."""

ROUNDING = 1e-12
"""Keeps a tier that is exactly good enough from failing by the last bit."""


@dataclass(frozen=True)
class Policy:
    """How predictions become tiers.

    `abilities` places each tier on the scale 0 (reference ability SMALL) to 2 (FRONTIER). `success_unknown` is what is
    assumed at the three reference abilities when there is no analysis.
    """

    revision: str
    abilities: Mapping[Tier, float] = field(default_factory=lambda: REFERENCE_ABILITIES)
    quality_target: float = 0.95
    confidence_threshold: float = 0.3
    default_tier: Tier = Tier.MEDIUM
    success_unknown: tuple[float, float, float] = (0.5, 0.7, 0.85)
    recalibrate: Recalibration = unchanged

    def predict(self, tier: Tier, analysis: Analysis | None) -> float:
        """Returns the predicted probability of a good answer from a tier."""
        ability = self.abilities.get(tier, REFERENCE_ABILITIES[tier])
        if analysis is None:
            return success_at(ability, self.success_unknown)
        return self.recalibrate(tier, analysis.task, success_at(ability, analysis.success))


def plan(facts: Facts, policy: Policy) -> Decision:
    """Returns the cheapest allowed tier that will answer well enough, with everything that shows why.

    Raises FailedPrecondition when the constraints leave no tier, ResourceExhausted when the budget leaves none of
    those, Unavailable when none of the rest has a backend that takes calls.
    """
    _check(facts)
    choice = Choice(facts, policy)
    considered = choice.considered()
    tier, otherwise, cause = choice.settle()
    cause = _strongest(cause, next(estimate for estimate in considered if estimate.tier is otherwise))
    return Decision(
        tier=tier,
        cause=cause,
        considered=considered,
        explanation=explain(Choosing(tier, otherwise, cause, considered, facts.finding, choice.quality_target)),
        analysis=facts.finding.analysis,
        skipped_rungs=facts.finding.skipped,
        policy_revision=policy.revision,
        price_revision=facts.price_revision,
    )


class Choice:
    """The rules, each to be switched on by its cause."""

    def __init__(self, facts: Facts, policy: Policy) -> None:
        self.facts = facts
        self.policy = policy
        self.success = {option.tier: policy.predict(option.tier, facts.finding.analysis) for option in facts.options}
        target = facts.constraints.quality_target
        self.quality_target = policy.quality_target if target is None else target

    def settle(self) -> tuple[Tier, Tier, Cause]:
        """Returns the tier, what weaker rules had chosen before the last change, and the rule that changed it."""
        cause = Cause.DEFAULT if self.facts.finding.analysis is None else Cause.QUALITY_TARGET
        active: set[Cause] = set()
        tier = otherwise = self.choose(active)
        for rule in (Cause.LOW_CONFIDENCE, Cause.SESSION, Cause.BUDGET, Cause.CONSTRAINT):
            active.add(rule)
            before, tier = tier, self.choose(active)
            if tier is not before:
                otherwise, cause = before, rule
        return tier, otherwise, cause

    def choose(self, active: AbstractSet[Cause]) -> Tier:
        """Returns the tier that the active rules lead to."""
        pool = [
            option
            for option in self.facts.options
            if option.takes_calls
            and (option.affordable or Cause.BUDGET not in active)
            and (Cause.CONSTRAINT not in active or constraint_on(option, self.facts.constraints) is None)
        ]
        tiers = sorted(option.tier for option in pool)
        tier = self._by_analysis(pool)
        if Cause.LOW_CONFIDENCE in active and self._in_doubt():
            tier = min((above for above in tiers if above > tier), default=tier)
        if Cause.SESSION in active and self.facts.session_tier is not None:
            tier = max(tier, _at_least(self.facts.session_tier, tiers))
        return tier

    def considered(self) -> tuple[TierEstimate, ...]:
        """Returns every tier with the strongest reason against it."""
        floor = self._session_floor()
        return tuple(
            TierEstimate(
                option.tier, self.success[option.tier], option.estimated_cost_micros, self._exclusion(option, floor)
            )
            for option in sorted(self.facts.options, key=lambda option: option.tier)
        )

    def _by_analysis(self, pool: Sequence[TierOption]) -> Tier:
        if self.facts.finding.analysis is None:
            return _at_least(self.policy.default_tier, sorted(option.tier for option in pool))
        enough = self.quality_target * max(self.success[option.tier] for option in pool) * (1 - ROUNDING)
        good = [option for option in pool if self.success[option.tier] >= enough]
        return min(good, key=_by_cost if _all_priced(good) else _by_tier).tier

    def _in_doubt(self) -> bool:
        analysis = self.facts.finding.analysis
        return analysis is not None and analysis.confidence < self.policy.confidence_threshold

    def _session_floor(self) -> Tier | None:
        open_to_choice = sorted(
            option.tier
            for option in self.facts.options
            if option.takes_calls and option.affordable and constraint_on(option, self.facts.constraints) is None
        )
        session = self.facts.session_tier
        return None if session is None else _at_least(session, open_to_choice)

    def _exclusion(self, option: TierOption, floor: Tier | None) -> Exclusion | None:
        if (constraint := constraint_on(option, self.facts.constraints)) is not None:
            return constraint
        if not option.affordable:
            return Exclusion.BUDGET
        if floor is not None and option.tier < floor:
            return Exclusion.SESSION
        return None if option.takes_calls else Exclusion.NO_BACKEND


def _check(facts: Facts) -> None:
    """Raises the error that says why no tier can be chosen, if none can."""
    allowed = [option for option in facts.options if constraint_on(option, facts.constraints) is None]
    if not allowed:
        against = {option.tier: constraint_on(option, facts.constraints) for option in facts.options}
        raise FailedPrecondition("NO_TIER_ALLOWED", explain_refusal(against))
    affordable = [option for option in allowed if option.affordable]
    if not affordable:
        raise ResourceExhausted("BUDGET_SPENT", explain_budget(facts.quota), quota=facts.quota)
    if not any(option.takes_calls for option in affordable):
        names = ", ".join(option.tier.name for option in affordable)
        raise Unavailable(
            "NO_BACKEND", f"None of the backends of the allowed tiers ({names}) takes calls at the moment."
        )


def _strongest(cause: Cause, otherwise: TierEstimate) -> Cause:
    """Returns the rule that rules out what would have been chosen otherwise, where that is stronger than `cause`."""
    if otherwise.excluded_by in {None, Exclusion.NO_BACKEND}:
        return cause
    return EXCLUDING.get(otherwise.excluded_by, Cause.CONSTRAINT)


def _at_least(tier: Tier, tiers: Sequence[Tier]) -> Tier:
    """Returns the weakest of the (sorted) tiers that is not weaker than `tier`; the strongest when all are."""
    return min((candidate for candidate in tiers if candidate >= tier), default=tiers[-1])


def _all_priced(options: Sequence[TierOption]) -> bool:
    return all(option.estimated_cost_micros is not None for option in options)


def _by_cost(option: TierOption) -> tuple[int, Tier]:
    return option.estimated_cost_micros or 0, option.tier


def _by_tier(option: TierOption) -> tuple[int, Tier]:
    return 0, option.tier
