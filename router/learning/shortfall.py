"""How far a policy would fall short of the top tier, as a loss whose mean the bounds are about.

Let u be the top tier's score of a request, s that of the tier chosen. "At least q of the top tier's quality" follows
from E[(u - s)+ + (1 - q)(1 - u)] <= 1 - q, because then E[u - s] <= (1 - q) E[u]. The first part is bounded by the
regrets between neighbouring tiers from the chosen one to the top, summed. A pair shows one of those K - 1 regrets,
drawn uniformly and apart from everything else, so K - 1 times its part has that sum as its mean, whichever tier was
chosen and whichever policy served. Dividing by K - 1 again leaves a loss in 0..1 and the level (1 - q) / (K - 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from router.learning.bound import DELTA, safe_count, upper_bound
from router.learning.evidence import Pair, reaches
from router.learning.stepwise import Steps, mean_curve, steps
from router.policy import Policy
from router.request import Tier


@dataclass(frozen=True)
class Shortfall:
    """Mean losses of a policy at rising thresholds, from pairs alone, for a quality target."""

    thresholds: tuple[float, ...]
    mean_losses: tuple[float, ...]
    count: int
    quality_target: float
    links: int
    """Neighbouring pairs of tiers there are: K - 1."""

    @property
    def level(self) -> float:
        """Returns what a mean loss may be at most."""
        return (1.0 - self.quality_target) / self.links

    def lowest_safe(self, delta: float = DELTA) -> float | None:
        """Returns the lowest threshold shown to reach the quality target; None when the highest one is not.

        Thresholds are tested from the highest, dearest and safest one down.
        """
        safe = safe_count(reversed(self.mean_losses), self.count, self.level, delta)
        return self.thresholds[-safe] if safe else None

    def upper_bound(self, threshold: float, delta: float = DELTA) -> float:
        """Returns a bound on the share of quality missed at a threshold that was not picked by looking at the pairs."""
        mean_loss = self.mean_losses[self.thresholds.index(threshold)]
        return min(self.links * upper_bound(mean_loss, self.count, delta), 1.0)


def shortfall(
    pairs: Sequence[Pair],
    policy: Policy,
    tiers: tuple[Tier, ...],
    thresholds: tuple[float, ...],
    quality_target: float,
) -> Shortfall:
    """Returns the policy's shortfall at each threshold."""
    parts = [_part(pair, policy, tiers, thresholds, quality_target) for pair in pairs]
    curve = mean_curve(parts, len(thresholds))
    return Shortfall(thresholds, tuple(curve), len(pairs), quality_target, max(len(tiers) - 1, 1))


def pair_loss(pair: Pair, policy: Policy, tiers: tuple[Tier, ...], quality_target: float) -> float:
    """Returns one pair's loss at the policy's own threshold."""
    part = _part(pair, policy, tiers, (policy.quality_target,), quality_target)
    return part.base + sum(delta for _, delta in part.steps)


def _part(
    pair: Pair, policy: Policy, tiers: tuple[Tier, ...], thresholds: tuple[float, ...], quality_target: float
) -> Steps:
    reach = reaches(pair.case, policy, tiers)[tiers.index(pair.lower)]
    allowance = (1.0 - quality_target) * (1.0 - pair.upper_score) if pair.upper is tiers[-1] else 0.0
    return steps(allowance, [(reach, pair.regret)], thresholds)
