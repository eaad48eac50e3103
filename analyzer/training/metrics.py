"""How well a score picks the prompts that need a stronger model, and how true predicted probabilities are.

Definitions as in the RouteLLM paper (Ong et al. 2024, arXiv 2406.18665): sending the share c of prompts with the
highest scores to the strong model recovers a part PGR(c) of the gap between always-weak and always-strong; APGR is the
mean of PGR over c (random 0.5), CPT(x) the smallest c with PGR(c) >= x.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.2f}, {self.high:.2f}]"


def gap_recovered(scores: Vector, weak: Vector, strong: Vector) -> Vector:
    """Returns PGR at the shares 0/n, 1/n, ... n/n. Tied scores share their gains evenly, as a random order would."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = strong - weak
    shared = np.bincount(group, weights=gains) / sizes
    recovered = np.concatenate([[0.0], np.cumsum(np.repeat(shared, sizes))])
    total = float(gains.sum())
    if total == 0.0:
        return np.full(len(recovered), np.nan)
    result: Vector = recovered / total
    return result


def apgr(scores: Vector, weak: Vector, strong: Vector) -> float:
    """Returns the area under the recovered gap over the share sent to the strong model (trapezoids)."""
    curve = gap_recovered(scores, weak, strong)
    return float(np.trapezoid(curve, dx=1.0 / len(scores)))


def call_performance_threshold(scores: Vector, weak: Vector, strong: Vector, level: float) -> float:
    """Returns the smallest share of strong calls that recovers `level` of the gap, or 1 when none does."""
    reached = np.flatnonzero(gap_recovered(scores, weak, strong) >= level)
    return float(reached[0]) / len(scores) if len(reached) else 1.0


def accuracy_at_share(scores: Vector, weak: Vector, strong: Vector, share: float) -> float:
    """Returns the mean outcome when the given share of prompts goes to the strong model."""
    curve = gap_recovered(scores, weak, strong)
    recovered = float(np.interp(share, np.linspace(0.0, 1.0, len(curve)), curve))
    return float(weak.mean() + recovered * (strong.mean() - weak.mean()))


def calibration_bins(predicted: Vector, observed: Vector, count: int = 10) -> list[tuple[float, float, int]]:
    """Returns (mean prediction, mean outcome, size) of equally filled bins, lowest predictions first."""
    order = np.argsort(predicted, kind="stable")
    bins = [chunk for chunk in np.array_split(order, count) if len(chunk)]
    return [(float(predicted[chunk].mean()), float(observed[chunk].mean()), len(chunk)) for chunk in bins]


def expected_calibration_error(predicted: Vector, observed: Vector, count: int = 10) -> float:
    """Returns the mean distance between prediction and outcome over equally filled bins (Naeini et al. 2015)."""
    bins = calibration_bins(predicted, observed, count)
    return sum(size * abs(mean - outcome) for mean, outcome, size in bins) / len(predicted)


def spearman(first: Vector, second: Vector) -> float:
    """Returns the rank correlation; ties get their mean rank. All tied: NaN, there is no order to compare."""
    left, right = _ranks(first), _ranks(second)
    if np.ptp(left) == 0.0 or np.ptp(right) == 0.0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])


def _ranks(values: Vector) -> Vector:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    ranks: Vector = ((ends - sizes + ends - 1) / 2.0)[group]
    return ranks


def macro_f1(expected: list[str], predicted: list[str]) -> float:
    """Returns the mean over the expected classes of the harmonic mean of precision and recall."""
    scores = []
    for name in sorted(set(expected)):
        hits = sum(e == p == name for e, p in zip(expected, predicted, strict=True))
        total = expected.count(name) + predicted.count(name)
        scores.append(2.0 * hits / total)
    return sum(scores) / len(scores)


def with_interval(metric: Callable[..., float], *columns: Vector, resamples: int = 400, seed: int = 0) -> Estimate:
    """Returns metric(*columns) with the 2.5 and 97.5 percentiles over prompts drawn anew with replacement."""
    random = np.random.default_rng(seed)
    size = len(columns[0])
    draws = [random.integers(0, size, size) for _ in range(resamples)]
    values = [metric(*(column[draw] for column in columns)) for draw in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Estimate(metric(*columns), float(low), float(high))
