"""Bounds that hold whatever the distribution."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from router.learning.bound import binomial_cdf, divergence, p_value, safe_count, upper_bound


@pytest.mark.parametrize(("count", "successes", "probability"), [(10, 3, 0.5), (1000, 30, 0.05), (20000, 900, 0.05)])
def test_the_binomial_tail_is_exact(count: int, successes: int, probability: float) -> None:
    """As another implementation says."""
    expected = float(binom.cdf(successes, count, probability))
    assert binomial_cdf(successes, count, probability) == pytest.approx(expected, rel=1e-6)


def test_the_ends_of_the_binomial_tail() -> None:
    """Nothing, and everything."""
    assert (binomial_cdf(-1, 5, 0.5), binomial_cdf(5, 5, 0.5), binomial_cdf(0, 5, 1.0)) == (0.0, 1.0, 0.0)


def test_divergence_is_nothing_between_equals() -> None:
    """And ln 2 between a sure coin and a fair one."""
    assert divergence(0.3, 0.3) == 0.0
    assert divergence(1.0, 0.5) == pytest.approx(math.log(2))


def test_no_loss_in_59_pairs_bounds_the_loss_at_five_percent_and_58_do_not() -> None:
    """Hoeffding's tight form gives the exact 0.95 ** n there."""
    assert p_value(0.0, 59, 0.05) <= 0.05 < p_value(0.0, 58, 0.05)


def test_a_mean_above_the_level_proves_nothing() -> None:
    """Nor does no data."""
    assert p_value(0.06, 10_000, 0.05) == 1.0
    assert p_value(0.0, 0, 0.05) == 1.0
    assert upper_bound(0.0, 0) == 1.0


def test_the_upper_bound_is_where_the_p_value_is_delta() -> None:
    """To its precision."""
    bound = upper_bound(0.03, 1000)
    assert 0.03 < bound < 0.05
    assert p_value(0.03, 1000, bound) <= 0.05 < p_value(0.03, 1000, bound - 0.001)


def test_the_bound_fails_less_often_than_it_may() -> None:
    """Over 2,000 draws, with coins and with losses between 0 and 1."""
    rng = np.random.default_rng(1)
    coins = rng.binomial(300, 0.04, 2000) / 300
    between = rng.beta(0.2, 4.8, (2000, 300)).mean(axis=1)
    bounds = {mean: upper_bound(mean, 300) for mean in {*coins.tolist(), *between[:500].tolist()}}
    assert np.mean([bounds[mean] < 0.04 for mean in coins.tolist()]) <= 0.05
    assert np.mean([bounds[mean] < 0.04 for mean in between[:500].tolist()]) <= 0.05


def test_testing_ends_at_the_first_that_fails() -> None:
    """What comes after it is not looked at."""
    assert safe_count([0.0, 0.01, 0.05, 0.0], 1000, 0.05) == 2
    assert safe_count([0.06, 0.0], 1000, 0.05) == 0
