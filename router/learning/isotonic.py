"""Curves that never fall, fitted by pooling adjacent violators, with a prior that few observations can't move far."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Curve:
    """Straight lines between knots (x, y), both rising; level outside them."""

    knots: tuple[tuple[float, float], ...]

    def __call__(self, x: float) -> float:
        """Returns the height at `x`."""
        right = bisect_right(self.knots, (x, INFINITY))
        if right == 0:
            return self.knots[0][1]
        if right == len(self.knots):
            return self.knots[-1][1]
        (x0, y0), (x1, y1) = self.knots[right - 1], self.knots[right]
        return y0 + (x - x0) / (x1 - x0) * (y1 - y0)


@dataclass(slots=True)
class Bin:
    """Observations at about the same x: their mean and their weight."""

    x: float
    mean: float
    weight: float

    def add(self, value: float, weight: float) -> None:
        """Takes one more observation in."""
        if weight > 0.0:
            self.weight += weight
            self.mean += (value - self.mean) * weight / self.weight


def fit_rising(bins: Sequence[Bin]) -> Curve:
    """Returns the rising curve through the bins, in order of x, that is nearest in weighted squares.

    Pool adjacent violators (Ayer, Brunk, Ewing, Reid and Silverman, 1955). Every bin needs a weight above 0.
    """
    pools: list[tuple[float, float, int]] = []
    for each in bins:
        pools.append((each.mean, each.weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            pools.append(_pooled(pools.pop(), pools.pop()))
    heights = [mean for mean, _, count in pools for _ in range(count)]
    return Curve(tuple((each.x, height) for each, height in zip(bins, heights, strict=True)))


def _pooled(right: tuple[float, float, int], left: tuple[float, float, int]) -> tuple[float, float, int]:
    weight = left[1] + right[1]
    return (left[0] * left[1] + right[0] * right[1]) / weight, weight, left[2] + right[2]
