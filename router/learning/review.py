"""Where a policy stands: what thresholds would have cost and won on recorded traffic, and how traffic has drifted."""

from dataclasses import dataclass

from router.learning.evidence import Evidence
from router.learning.replay import ReplayPoint, replay
from router.learning.shortfall import shortfall
from router.learning.versions import Version
from router.learning.watching import Drift, drift, profile
from router.policy import Policy

PAIRS_MIN = 100


@dataclass(frozen=True)
class Review:
    """What was found.

    `failure_bounds` hold for each threshold by itself, at 95 % confidence; empty with fewer than 100 shadow pairs.
    `drift` is since the version was proposed; None for the configuration's own.
    """

    policy: Policy
    points: tuple[ReplayPoint, ...]
    failure_bounds: tuple[float, ...]
    drift: Drift | None
    cases: int
    outcomes: int
    pairs: int

    def bound(self, threshold: float) -> float | None:
        """Returns the failure bound at a threshold; None when it is not known."""
        if not self.failure_bounds:
            return None
        return self.failure_bounds[[point.threshold for point in self.points].index(threshold)]


def review(evidence: Evidence, version: Version, policy: Policy, thresholds: tuple[float, ...]) -> Review:
    """Returns how a version stands. `policy` is its own, as it serves; its threshold is added to the others."""
    at = tuple(sorted({*thresholds, policy.quality_target}))
    bounds: tuple[float, ...] = ()
    if len(evidence.pairs) >= PAIRS_MIN:
        lost = shortfall(evidence.pairs, policy, evidence.tiers, at, version.objective.quality_target)
        bounds = tuple(lost.upper_bound(threshold) for threshold in at)
    now = profile(evidence.cases, policy, evidence.tiers)
    return Review(
        policy=policy,
        points=replay(evidence.cases, policy, evidence.tiers, at),
        failure_bounds=bounds,
        drift=None if version.profile is None or not evidence.cases else drift(version.profile, now),
        cases=len(evidence.cases),
        outcomes=len(evidence.outcomes),
        pairs=len(evidence.pairs),
    )
