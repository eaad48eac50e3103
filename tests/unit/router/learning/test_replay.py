"""What thresholds would have cost and won on recorded traffic."""

import numpy as np
import pytest

from router.analysis import Task
from router.learning.evidence import Case
from router.learning.replay import ReplaySettings, mean_costs, mean_quality, replay, thresholds_between
from router.learning.stepwise import mean_curve, steps
from router.policy import Policy
from router.request import Tier
from tests.support.learning_worlds import COSTS, TIERS, make_cases

POLICY = Policy("p", confidence_threshold=0.0)


def test_thresholds_include_both_ends() -> None:
    """And rise."""
    thresholds = thresholds_between(0.9, 1.0)
    assert (thresholds[0], thresholds[-1], len(thresholds)) == (0.9, 1.0, 21)


def test_a_step_counts_up_to_its_reach() -> None:
    """The mean is over all parts."""
    thresholds = (0.1, 0.2, 0.3)
    parts = [steps(1.0, [(0.2, -0.5)], thresholds), steps(2.0, [(0.05, 9.0), (0.9, 1.0)], thresholds)]
    assert mean_curve(parts, 3) == pytest.approx([1.75, 1.75, 2.0])
    assert mean_curve([], 3) == [0.0, 0.0, 0.0]


def test_a_case_costs_what_its_tier_costs() -> None:
    """Small below its reach, large above."""
    case = Case("r", "a", Task.OTHER, (0.45, 0.72, 0.9), 1.0, COSTS)
    assert mean_costs([case], POLICY, TIERS, (0.4, 0.6, 0.9)) == [100.0, 300.0, 1000.0]
    assert mean_quality([case], POLICY, TIERS, (0.4, 0.6, 0.9)) == pytest.approx([0.5, 0.8, 1.0])


def test_cases_without_all_prices_are_left_out() -> None:
    """Unknown is unknown."""
    case = Case("r", "a", Task.OTHER, (0.45, 0.72, 0.9), 1.0, {Tier.SMALL: 1.0})
    assert mean_costs([case], POLICY, TIERS, (0.5,)) == []
    assert replay([case], POLICY, TIERS, (0.5,)) == ()


def test_replay_gives_a_curve_with_intervals() -> None:
    """Dearer thresholds cost more and promise more; the interval holds the figure."""
    cases = make_cases(np.random.default_rng(0).random(500), "r")
    points = replay(cases, POLICY, TIERS, (0.6, 0.8, 0.95), ReplaySettings(resamples=50))
    costs = [point.mean_cost_micros.value for point in points]
    assert costs == sorted(costs)
    assert [point.quality_share.value for point in points] == sorted(point.quality_share.value for point in points)
    for point in points:
        for figure in (point.mean_cost_micros, point.saved_share, point.quality_share):
            assert figure.low <= figure.value <= figure.high
            assert figure.low < figure.high
        assert point.saved_share.value == pytest.approx(1.0 - point.mean_cost_micros.value / 1000.0)
