"""A world of prompts whose success at every tier is known, to see what learning makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from router.analysis import Task
from router.learning.evidence import Case, Evidence, Outcome, Pair, reaches
from router.policy import Policy
from router.request import Tier

Vector = NDArray[np.float64]

TIERS = (Tier.SMALL, Tier.MEDIUM, Tier.LARGE)
PRICES = (100.0, 300.0, 1000.0)
COSTS = MappingProxyType(dict(zip(TIERS, PRICES, strict=True)))
REPORTED_SHARE = 0.1
SHADOW_SHARE = 0.2
STEEPNESS = 6.0


@dataclass(frozen=True)
class World:
    """Prompts by difficulty, uniform in 0..1.

    A tier succeeds with the probability its curve gives, and where a tier does, every stronger one does too. The
    analyzer knows the difficulty, but is wrong about the curves.
    """

    ceiling: tuple[float, float, float] = (0.99, 0.99, 0.99)
    place: tuple[float, float, float] = (0.8, 1.1, 1.6)
    """The difficulty at which a tier succeeds half as often as at its best."""

    def truth(self, difficulty: Vector) -> Vector:
        """Success at each tier [3, n]."""
        ceiling, place = np.array(self.ceiling)[:, None], np.array(self.place)[:, None]
        return ceiling / (1.0 + np.exp(STEEPNESS * (difficulty - place)))


MISTAKEN = World(ceiling=(0.95, 0.96, 0.98), place=(0.7, 1.1, 1.9))
"""What the analyzer takes the curves for: too hard on the small model, too sure of the large one."""


def make_cases(difficulty: Vector, prefix: str, tenant: Callable[[int], str] = lambda _: "a") -> list[Case]:
    """Analysed requests with known prices."""
    return [
        Case(f"{prefix}{i}", tenant(i), Task.OTHER, tuple(each), 1.0, COSTS)
        for i, each in enumerate(MISTAKEN.truth(difficulty).T.tolist())
    ]


def served(case: Case, policy: Policy) -> int:
    """The tier chosen, by place."""
    return next(i for i, reach in enumerate(reaches(case, policy, TIERS)) if reach >= policy.quality_target)


def observe(world: World, policy: Policy, count: int, rng: np.random.Generator, prefix: str = "r") -> Evidence:
    """What is recorded of `count` requests: some verdicts on the tier served, some uniformly drawn pairs."""
    difficulty = rng.random(count)
    kind = rng.random(count)
    luck = rng.random(count)
    good = luck < world.truth(difficulty)
    reported = np.flatnonzero(kind < REPORTED_SHARE)
    drawn = np.flatnonzero(kind > 1.0 - SHADOW_SHARE)
    lower = rng.integers(0, 2, len(drawn))
    cases = make_cases(difficulty[reported], f"{prefix}o", lambda i: f"tenant{i % 10}")
    outcomes = [
        Outcome(case, TIERS[tier], float(good[tier, at]))
        for case, at in zip(cases, reported.tolist(), strict=True)
        for tier in (served(case, policy),)
    ]
    pairs = [
        Pair(case, TIERS[low], TIERS[low + 1], float(good[low, at]), float(good[low + 1, at]))
        for case, at, low in zip(
            make_cases(difficulty[drawn], f"{prefix}p"), drawn.tolist(), lower.tolist(), strict=True
        )
    ]
    return Evidence(TIERS, (), tuple(outcomes), tuple(pairs))


def joined(*parts: Evidence) -> Evidence:
    """All of it together."""
    return replace(
        parts[0],
        outcomes=tuple(each for part in parts for each in part.outcomes),
        pairs=tuple(each for part in parts for each in part.pairs),
    )


@dataclass(frozen=True)
class Result:
    """What a choice of tiers really does: mean success, the best tier's, and the mean cost."""

    quality: float
    top: float
    cost: float


def judge(world: World, policy: Policy, count: int = 1000) -> Result:
    """What a policy does on all prompts of the world, evenly taken."""
    difficulty = (np.arange(count) + 0.5) / count
    truth = world.truth(difficulty)
    tiers = np.array([served(case, policy) for case in make_cases(difficulty, "j")])
    return _result(truth, tiers)


def oracle(world: World, quality_target: float, count: int = 1000) -> Result:
    """The cheapest choice that reaches the target on average, by one who knows the curves (Lagrange's multiplier)."""
    truth = world.truth((np.arange(count) + 0.5) / count)
    prices = np.array(PRICES)[:, None]
    found = None
    for worth in np.geomspace(1.0, 1e6, 400):
        tiers = np.argmax(worth * truth - prices, axis=0)
        found = _result(truth, tiers)
        if found.quality >= quality_target * found.top:
            return found
    assert found is not None
    return found


def _result(truth: Vector, tiers: NDArray[np.int64]) -> Result:
    chosen = truth[tiers, np.arange(truth.shape[1])]
    return Result(float(chosen.mean()), float(truth[-1].mean()), float(np.array(PRICES)[tiers].mean()))
