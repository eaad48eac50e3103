"""Keeps watch over a promoted policy: tells when quality falls below what was promised, and how far traffic drifts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from router.learning.evidence import Case, Outcome, Pair, reaches
from router.learning.shortfall import pair_loss
from router.policy import Policy
from router.request import Tier

SCORE_BINS = 10
UNSEEN = 1e-4
"""Share a bin is taken to have at least: keeps the drift of one that was never seen finite."""


class Detector:
    """Tells when the mean of losses in 0..1 rises above a level, whenever that happens.

    A gambler who bets a share of his money on each loss being above the level can't expect to win while it is not; he
    starts anew whenever he has less than at first. (The e-detector of Shin, Ramdas and Rinaldo, 2022, arXiv 2203.03532,
    in its CUSUM form.) While the mean stays at or below the level, alarms come on average no sooner than after `odds`
    losses.
    """

    def __init__(self, level: float, odds: float = 1000.0, bet: float = 0.05) -> None:
        self.level = level
        self.odds = odds
        # A small share of the most that can be bet without going broke on a loss of 0.
        self._stake = bet / level if level > 0.0 else 1.0
        self._wealth = 1.0
        self.seen = 0
        self.alarmed = False

    def __repr__(self) -> str:
        return f"Detector({self.seen} seen, wealth {self._wealth:.2f} of {self.odds:.0f}, level {self.level:.4f})"

    def observe(self, loss: float) -> bool:
        """Takes a loss in; whether there is, or was before, an alarm."""
        self.seen += 1
        self._wealth = max(self._wealth, 1.0) * (1.0 + self._stake * (loss - self.level))
        self.alarmed = self.alarmed or self._wealth >= self.odds
        return self.alarmed


@dataclass(frozen=True)
class Promise:
    """What a promoted policy is held to: the quality target of its bound, and the mean score of reported outcomes."""

    quality_target: float
    reported_quality: float | None = None


class Watch:
    """Watches one policy while it serves."""

    def __init__(self, policy: Policy, tiers: tuple[Tier, ...], promise: Promise) -> None:
        self._policy = policy
        self._tiers = tiers
        self._target = promise.quality_target
        links = max(len(tiers) - 1, 1)
        self._shadow = Detector((1.0 - promise.quality_target) / links)
        self._reported = None
        if promise.reported_quality is not None:
            self._reported = Detector(1.0 - promise.quality_target * promise.reported_quality)

    def __repr__(self) -> str:
        return f"Watch({self._policy.revision}: shadow {self._shadow!r}, reported {self._reported!r})"

    def pairs(self, pairs: Iterable[Pair]) -> None:
        """Takes new shadow pairs in, oldest first."""
        for pair in pairs:
            self._shadow.observe(pair_loss(pair, self._policy, self._tiers, self._target))

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Takes all verdicts in, oldest first, but those of the tenant that complains most, if it is not the only one.

        So nobody alone can have a policy left; where one tenant alone is badly served, shadow pairs show it.
        """
        if self._reported is None:
            return
        left_out = _loudest(outcomes, self._reported.level)
        for outcome in outcomes:
            if outcome.case.tenant != left_out:
                self._reported.observe(1.0 - outcome.score)

    def alarm(self) -> str:
        """Returns why the policy must not serve any longer, as a sentence; empty while it may."""
        if self._shadow.alarmed:
            return f"Shadow pairs show quality below {self._target:.0%} of the top tier's."
        if self._reported is not None and self._reported.alarmed:
            return "Reported quality has fallen below what the policy was promoted with."
        return ""


def _loudest(outcomes: Iterable[Outcome], level: float) -> str | None:
    """Returns the tenant with the most loss above the level; None when there is one tenant only."""
    complaints: dict[str, float] = {}
    for outcome in outcomes:
        tenant = outcome.case.tenant
        complaints[tenant] = complaints.get(tenant, 0.0) + 1.0 - outcome.score - level
    return max(complaints, key=lambda tenant: complaints[tenant]) if len(complaints) > 1 else None


@dataclass(frozen=True)
class Profile:
    """What traffic looks like: shares of the tiers it is sent to, and of its expected gain by tenths."""

    tiers: tuple[float, ...]
    gains: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """How far two profiles are apart.

    `tier_mix` is the share of requests sent elsewhere (total variation); `scores` the population stability index: below
    0.1 nothing to speak of, above 0.25 another kind of traffic.
    """

    tier_mix: float
    scores: float


def profile(cases: Sequence[Case], policy: Policy, tiers: tuple[Tier, ...]) -> Profile:
    """Returns what the policy would see in these requests; all zeros when there are none."""
    mix, gains = [0] * len(tiers), [0] * SCORE_BINS
    for case in cases:
        reach = reaches(case, policy, tiers)
        mix[next(i for i, each in enumerate(reach) if each >= policy.quality_target)] += 1
        gain = case.success[2] - case.success[0]
        gains[min(int(gain * SCORE_BINS), SCORE_BINS - 1)] += 1
    count = max(len(cases), 1)
    return Profile(tuple(each / count for each in mix), tuple(each / count for each in gains))


def drift(before: Profile, now: Profile) -> Drift:
    """Returns how far traffic has moved from one profile to another."""
    mix = sum(abs(a - b) for a, b in zip(before.tiers, now.tiers, strict=True)) / 2.0
    return Drift(mix, _stability(before.gains, now.gains))


def _stability(before: Iterable[float], now: Iterable[float]) -> float:
    pairs = [(max(a, UNSEEN), max(b, UNSEEN)) for a, b in zip(before, now, strict=True)]
    return sum((b - a) * math.log(b / a) for a, b in pairs)
