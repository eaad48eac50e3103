"""Bounds on a mean loss between 0 and 1 that hold whatever its distribution, and the tests built on them.

Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, 2021, arXiv 2110.01052): each candidate is a hypothesis
"its loss is above the level"; testing them in an order fixed beforehand, each at the full error rate until the first
that is not rejected, lets a wrong candidate through with at most that rate, however many there are.
"""

import math
from collections.abc import Iterable

DELTA = 0.05
"""How often a bound may fail: the confidence is one less it."""

PRECISION = 1e-5


def p_value(mean_loss: float, count: int, level: float) -> float:
    """Returns the Hoeffding-Bentkus p-value of "the true mean is above `level`" for `count` losses in 0..1.

    The smaller of Hoeffding's bound in its tight form and of Bentkus' (2004), proposition 1 of the paper above.
    """
    if count == 0 or mean_loss >= level:
        return 1.0
    hoeffding = math.exp(-count * divergence(mean_loss, level))
    bentkus = math.e * binomial_cdf(math.ceil(count * mean_loss - PRECISION), count, level)
    return min(1.0, hoeffding, bentkus)


def upper_bound(mean_loss: float, count: int, delta: float = DELTA) -> float:
    """Returns the smallest level, to 1e-5, that the mean is below with confidence 1 - `delta`; 1 when there is none."""
    low, high = min(max(mean_loss, 0.0), 1.0), 1.0
    if count == 0:
        return 1.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        if p_value(mean_loss, count, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def safe_count(mean_losses: Iterable[float], count: int, level: float, delta: float = DELTA) -> int:
    """Returns how many candidates, in the order given, are shown to lose at most `level` before one is not."""
    safe = 0
    for mean_loss in mean_losses:
        if p_value(mean_loss, count, level) > delta:
            break
        safe += 1
    return safe


def divergence(a: float, b: float) -> float:
    """Returns the Kullback-Leibler divergence of two coins that show heads with probability `a` and `b`, in nats."""
    heads = a * math.log(a / b) if a > 0.0 else 0.0
    tails = (1.0 - a) * math.log((1.0 - a) / (1.0 - b)) if a < 1.0 and b < 1.0 else 0.0
    return heads + tails


def binomial_cdf(successes: int, count: int, probability: float) -> float:
    """Returns the probability of at most so many successes, summed downwards from the largest term."""
    if successes >= count or probability <= 0.0:
        return 1.0
    if successes < 0 or probability >= 1.0:
        return 0.0
    log_term = (
        math.lgamma(count + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(count - successes + 1)
        + successes * math.log(probability)
        + (count - successes) * math.log1p(-probability)
    )
    term = total = math.exp(log_term)
    odds = (1.0 - probability) / probability
    for k in range(successes, 0, -1):
        term *= k / (count - k + 1) * odds
        total += term
        if term < 1e-12 * total:
            break
    return min(total, 1.0)
