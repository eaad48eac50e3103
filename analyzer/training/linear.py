"""Ridge regression with cross-validated strength, and curves that turn its predictions into probabilities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from analyzer.judging import Curve

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Indices = NDArray[np.int64]

FOLD_COUNT = 5
_LEAST_GAIN, _MOST_GAIN = 0.02, 0.85  # where the line of a gain curve bends
STRENGTHS = (1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5)


@dataclass(frozen=True)
class LinearFit:
    """A linear function of standardised features, and what it said of each row when that row was held out."""

    coefficients: Vector
    intercept: float
    strength: float
    held_out: Vector

    def __call__(self, features: Matrix) -> Vector:
        """Returns predictions for rows of standardised features."""
        return features @ self.coefficients + self.intercept


def fit_ridge(
    features: Matrix, target: Vector, weights: Vector, folds: Indices, strengths: Sequence[float] = STRENGTHS
) -> LinearFit:
    """Fits weighted ridge regression; the strength with the least held-out squared error wins.

    `features` [n, width] are standardised, `folds` [n] say which rows are held out together.
    """
    held_out = np.zeros((len(strengths), len(target)))
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        solutions = _ridge_path(features[inside], target[inside], weights[inside], strengths)
        for index, (coefficients, intercept) in enumerate(solutions):
            held_out[index, outside] = features[outside] @ coefficients + intercept
    errors = ((held_out - target) ** 2 * weights).sum(axis=1)
    best = int(errors.argmin())
    coefficients, intercept = next(_ridge_path(features, target, weights, [strengths[best]]))
    return LinearFit(coefficients, intercept, strengths[best], held_out[best])


def _ridge_path(
    features: Matrix, target: Vector, weights: Vector, strengths: Sequence[float]
) -> Iterator[tuple[Vector, float]]:
    """Yields coefficients and intercept for each strength from one eigendecomposition."""
    center = np.average(features, axis=0, weights=weights)
    mean = float(np.average(target, weights=weights))
    weighted = (features - center) * weights[:, None]
    values, vectors = np.linalg.eigh(weighted.T @ (features - center))
    projected = vectors.T @ (weighted.T @ (target - mean))
    for strength in strengths:
        coefficients = vectors @ (projected / (values + strength))
        yield coefficients, mean - float(center @ coefficients)


def gain_curve(scores: Vector, gains: Vector, weights: Vector) -> Curve:
    """Returns the increasing curve from a score to the expected gain: a line, bent to stay positive.

    Below the bend it still rises a little, because the gain ranks prompts and ties rank nothing.
    """
    slope, intercept = np.polyfit(scores, gains, 1, w=np.sqrt(weights))
    slope = max(float(slope), 0.05 * float(gains.std()) / max(float(scores.std()), 1e-9))
    intercept = float(np.average(gains - slope * scores, weights=weights))
    low, high = (float(edge) for edge in (scores.min() - 3 * scores.std(), scores.max() + 3 * scores.std()))
    bends = [((gain - intercept) / slope, gain) for gain in (_LEAST_GAIN, _MOST_GAIN)]
    inside = [(x, gain) for x, gain in bends if low < x < high]
    first = 0.0 if inside and inside[0][1] == _LEAST_GAIN else min(max(intercept + slope * low, 0.0), _MOST_GAIN)
    last = 1.0 if inside and inside[-1][1] == _MOST_GAIN else min(max(intercept + slope * high, first + 1e-3), 1.0)
    return Curve(knots=((low, first), *inside, (high, last)))


def success_curve(scores: Vector, outcomes: Vector, weights: Vector, *, knots: int = 33) -> Curve:
    """Returns the curve from a score to a probability by Platt scaling (Platt 1999), soft outcomes allowed."""
    center, scale = float(scores.mean()), max(float(scores.std()), 1e-9)
    standard = ((scores - center) / scale)[:, None]
    model = LogisticRegression(C=1e3)
    model.fit(
        np.concatenate([standard, standard]),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([outcomes * weights, (1.0 - outcomes) * weights]),
    )
    slope = max(float(model.coef_[0, 0]), 0.01)
    grid = np.linspace(-6.0, 6.0, knots)
    values = 1.0 / (1.0 + np.exp(-(slope * grid + float(model.intercept_[0]))))
    return Curve(knots=tuple(zip((grid * scale + center).tolist(), values.tolist(), strict=True)))
