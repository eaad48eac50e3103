"""What there is to learn from: analysed requests, verdicts on their answers, and pairs of answers to one request."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.abilities import success_at
from router.analysis import Task
from router.policy import Policy
from router.request import Tier

NEVER = float("-inf")
"""The reach of a tier that no threshold, however low, leads to."""


@dataclass(frozen=True, slots=True)
class Case:
    """An analysed request: what the analysis said, and what each tier would cost, where that is known."""

    request_id: str
    tenant: str
    task: Task
    success: tuple[float, float, float]
    confidence: float
    costs: Mapping[Tier, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, 0 to 1, on the answer of a tier."""

    case: Case
    tier: Tier
    score: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbouring tiers' answers to a request that was drawn uniformly, and so were the two tiers.

    A judge that only tells whether they agree scores the upper one 1, and the lower one 1 or 0.
    """

    case: Case
    lower: Tier
    upper: Tier
    lower_score: float
    upper_score: float

    @property
    def regret(self) -> float:
        """How much worse the lower tier answered; 0 when it was better."""
        return max(self.upper_score - self.lower_score, 0.0)


@dataclass(frozen=True)
class Evidence:
    """Everything recorded that a policy can be fitted to. `tiers` are those in use, weakest first."""

    tiers: tuple[Tier, ...]
    cases: tuple[Case, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    pairs: tuple[Pair, ...] = ()


def raw_success(case: Case, tier: Tier, policy: Policy) -> float:
    """Returns what the analysis alone predicts at the tier's ability."""
    return success_at(policy.abilities[tier], case.success)


def predicted_success(case: Case, tier: Tier, policy: Policy) -> float:
    """Returns what the policy predicts of a tier."""
    return policy.recalibrate(tier, case.task, raw_success(case, tier, policy))


def reaches(case: Case, policy: Policy, tiers: tuple[Tier, ...]) -> tuple[float, ...]:
    """Returns for each tier the highest threshold at which the policy chooses it or a weaker one.

    The last one is infinite: the strongest tier or a weaker one is always chosen. Tiers are taken to rise in price, and
    no other rule than quality target and low confidence to interfere.
    """
    success = [predicted_success(case, tier, policy) for tier in tiers]
    best = max(success)
    highest, found = NEVER, []
    for each in success[:-1]:
        highest = max(highest, each / best if best > 0.0 else 1.0)
        found.append(highest)
    if case.confidence < policy.confidence_threshold:
        found = [NEVER, *found][: len(success) - 1]
    return (*found, float("inf"))
