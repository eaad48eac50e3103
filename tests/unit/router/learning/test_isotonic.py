"""Curves that never fall."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from router.learning.isotonic import Bin, Curve, fit_rising

values = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100)), min_size=1, max_size=20)


@given(values)
def test_it_is_the_least_squares_fit(seen: list[tuple[float, float]]) -> None:
    """As another implementation finds it."""
    curve = fit_rising([Bin(float(i), mean, weight) for i, (mean, weight) in enumerate(seen)])
    means, weights = zip(*seen, strict=True)
    expected = IsotonicRegression().fit_transform(np.arange(len(seen)), means, sample_weight=weights)
    assert [y for _, y in curve.knots] == pytest.approx(expected.tolist(), abs=1e-9)


def test_a_curve_is_straight_between_knots_and_level_outside() -> None:
    """At knots it is what they say."""
    curve = Curve(((0.2, 0.1), (0.4, 0.5), (0.8, 0.6)))
    heights = [curve(x) for x in (0.0, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)]
    assert heights == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.55, 0.6, 0.6])


def test_a_bin_holds_the_weighted_mean() -> None:
    """And nothing of an observation without weight."""
    place = Bin(0.5, 0.5, 1.0)
    place.add(1.0, 3.0)
    place.add(0.0, 0.0)
    assert (place.mean, place.weight) == (0.875, 4.0)
