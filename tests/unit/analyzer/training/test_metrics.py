"""The figures of the report, against values worked out by hand."""

import numpy as np
import pytest

from analyzer.training.metrics import (
    accuracy_at_share,
    apgr,
    calibration_bins,
    call_performance_threshold,
    expected_calibration_error,
    gap_recovered,
    macro_f1,
    spearman,
    with_interval,
)

WEAK = np.array([1.0, 0.0, 0.0, 1.0])
STRONG = np.array([1.0, 1.0, 1.0, 1.0])
ORACLE = STRONG - WEAK


def test_the_oracle_recovers_the_gap_with_the_prompts_that_need_it() -> None:
    """Two of four prompts gain: PGR is 0, 1/2, 1, 1, 1, so the area is (0/2 + 1/2 + 1 + 1 + 1/2) / 4."""
    np.testing.assert_allclose(gap_recovered(ORACLE, WEAK, STRONG), [0.0, 0.5, 1.0, 1.0, 1.0])
    assert apgr(ORACLE, WEAK, STRONG) == pytest.approx(0.75)


def test_a_constant_score_is_worth_one_half() -> None:
    """Ties share their gains, so the order of the file doesn't matter."""
    assert apgr(np.zeros(4), WEAK, STRONG) == pytest.approx(0.5)


def test_the_worst_ranking_mirrors_the_best() -> None:
    """Sending the easy ones first: 0, 0, 0, 1/2, 1."""
    assert apgr(-ORACLE, WEAK, STRONG) == pytest.approx(0.25)


def test_cpt_is_the_smallest_share_that_recovers_enough() -> None:
    """The oracle needs one prompt of four for half of the gap, two for four fifths."""
    assert call_performance_threshold(ORACLE, WEAK, STRONG, 0.5) == pytest.approx(0.25)
    assert call_performance_threshold(ORACLE, WEAK, STRONG, 0.8) == pytest.approx(0.5)


def test_accuracy_at_a_share_interpolates_between_prompts() -> None:
    """A quarter of the calls gives one more right answer of four; an eighth half of that."""
    assert accuracy_at_share(ORACLE, WEAK, STRONG, 0.25) == pytest.approx(0.75)
    assert accuracy_at_share(ORACLE, WEAK, STRONG, 0.125) == pytest.approx(0.625)


def test_two_equal_models_leave_nothing_to_recover() -> None:
    """No gap, no share of it."""
    assert np.isnan(gap_recovered(ORACLE, WEAK, WEAK)).all()


def test_calibration_error_is_the_mean_distance_over_bins() -> None:
    """Predicted .2 and .8, observed .5 and 1.0: off by .3 and .2 in bins of two."""
    predicted, observed = np.array([0.2, 0.2, 0.8, 0.8]), np.array([1.0, 0.0, 1.0, 1.0])
    assert calibration_bins(predicted, observed, 2) == [(0.2, 0.5, 2), (0.8, 1.0, 2)]
    assert expected_calibration_error(predicted, observed, 2) == pytest.approx(0.25)


def test_spearman_counts_ranks_and_gives_ties_their_mean() -> None:
    """A monotone relation is 1 however bent; a hand-worked tie: ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(values, np.exp(values)) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 2.0, 2.0, 3.0]), values) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))


def test_macro_f1_weighs_classes_alike() -> None:
    """a: precision 2/3, recall 1 -> .8; b: precision 1, recall 1/2 -> 2/3."""
    assert macro_f1(["a", "a", "b", "b"], ["a", "a", "a", "b"]) == pytest.approx((0.8 + 2 / 3) / 2)


def test_the_interval_encloses_the_value_and_is_reproducible() -> None:
    """The same seed draws the same prompts."""
    scores = np.arange(200.0)
    weak = (np.arange(200) % 3 == 0) * 1.0
    strong = np.maximum(weak, np.arange(200) > 80)
    first = with_interval(apgr, scores, weak, strong, resamples=50)
    assert first == with_interval(apgr, scores, weak, strong, resamples=50)
    assert first.low < first.value < first.high
