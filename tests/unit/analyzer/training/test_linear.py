"""Regression and calibration curves on data whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest

from analyzer.training.linear import fit_ridge, gain_curve, success_curve

RANDOM = np.random.default_rng(7)


def test_ridge_finds_a_clear_signal_and_its_held_out_predictions_follow_it() -> None:
    """Two of five directions carry the target."""
    features = RANDOM.standard_normal((400, 5))
    target = 0.5 + 0.3 * features[:, 0] - 0.2 * features[:, 1]
    fit = fit_ridge(features, target, np.ones(400), np.arange(400) % 5, strengths=(1e-3, 1e3))
    assert fit.strength == 1e-3
    np.testing.assert_allclose(fit.coefficients, [0.3, -0.2, 0.0, 0.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(fit.held_out, target, atol=1e-3)


def test_pure_noise_takes_the_strongest_regularisation() -> None:
    """Nothing to learn, nothing learned."""
    features = RANDOM.standard_normal((300, 40))
    fit = fit_ridge(features, RANDOM.standard_normal(300), np.ones(300), np.arange(300) % 5, strengths=(1.0, 1e6))
    assert fit.strength == 1e6


def test_rows_without_weight_teach_nothing() -> None:
    """A weight of zero is as good as absence."""
    features = RANDOM.standard_normal((200, 1))
    target = np.where(np.arange(200) < 100, features[:, 0], -features[:, 0])
    weights = np.where(np.arange(200) < 100, 1.0, 0.0)
    fit = fit_ridge(features, target, weights, np.arange(200) % 5, strengths=(1e-6,))
    assert fit.coefficients[0] == pytest.approx(1.0, abs=1e-3)


def test_the_gain_curve_is_calibrated_and_strictly_rises() -> None:
    """Twice the score on average, and no two scores tie, even where the line would go below zero."""
    scores = RANDOM.uniform(-0.1, 0.3, 2000)
    gains = np.clip(2.0 * scores + RANDOM.standard_normal(2000) * 0.05, -1, 1)
    curve = gain_curve(scores, gains, np.ones(2000))
    assert curve(0.2) == pytest.approx(0.4, abs=0.03)
    values = [curve(float(x)) for x in np.linspace(-0.2, 0.4, 50)]
    assert all(left < right for left, right in pairwise(values))
    assert min(values) >= 0.0


def test_a_useless_gain_score_still_gives_a_rising_curve() -> None:
    """A score that anti-correlates by chance must not turn the ranking around."""
    scores = np.linspace(0.0, 1.0, 100)
    curve = gain_curve(scores, 0.2 - 0.01 * scores, np.ones(100))
    assert curve(1.0) > curve(0.0)


def test_the_success_curve_follows_observed_frequencies() -> None:
    """Outcomes drawn from a logistic curve give that curve back."""
    scores = RANDOM.standard_normal(20000)
    outcomes = (RANDOM.random(20000) < 1 / (1 + np.exp(-(1.5 * scores + 0.5)))) * 1.0
    curve = success_curve(scores, outcomes, np.ones(20000))
    for x in (-1.0, 0.0, 1.0):
        assert curve(x) == pytest.approx(1 / (1 + np.exp(-(1.5 * x + 0.5))), abs=0.02)
