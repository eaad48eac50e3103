"""Means over requests as functions of the threshold: each request adds a step where its tier changes."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Steps:
    """One request's part: `base` at every threshold, and each delta at the thresholds up to its reach.

    A step is an index into the thresholds (how many of them it holds for) and a delta.
    """

    base: float
    steps: tuple[tuple[int, float], ...] = ()


def steps(base: float, deltas: Iterable[tuple[float, float]], thresholds: Sequence[float]) -> Steps:
    """Returns the part of a request with the (reach, delta) given; thresholds rise."""
    counted = ((bisect_right(thresholds, reach), delta) for reach, delta in deltas)
    return Steps(base, tuple((count, delta) for count, delta in counted if count and delta))


def mean_curve(parts: Sequence[Steps], width: int) -> list[float]:
    """Returns the mean at each of `width` thresholds; zeros when there are no parts."""
    total = sum(part.base for part in parts)
    ends = [0.0] * (width + 1)
    for part in parts:
        for count, delta in part.steps:
            ends[count] += delta
    below = list(accumulate(reversed(ends)))[::-1]
    return [(total + below[i + 1]) / len(parts) if parts else 0.0 for i in range(width)]
