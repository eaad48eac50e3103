"""The rows a judge has to beat (constant, random, length, bag of words) and the oracle it can't."""

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from analyzer.training.dataset import GradedPrompt
from analyzer.training.metrics import Vector

_BAG_STRENGTHS = (1.0, 3.0, 10.0)


def baseline_scores(judged: Sequence[GradedPrompt], bag: Vector | None) -> dict[str, Vector]:
    """Returns a score a prompt for each baseline; `bag` holds those of a fitted bag of words."""
    gains = _gains(judged)
    scores: dict[str, Vector] = {
        "oracle": gains,
        "length": np.array([float(len(prompt.text)) for prompt in judged]),
        "random": np.random.default_rng(0).random(len(judged)),
        "constant": np.zeros(len(judged)),
    }
    if bag is not None:
        scores["bag of words"] = bag
    return scores


def bag_of_words(judged: Sequence[GradedPrompt], training: Sequence[GradedPrompt]) -> Vector:
    """Ridge regression of the gain on words and word pairs, its strength chosen on a fifth of the training part."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    features = words.fit_transform(prompt.text for prompt in training)
    gains = _gains(training)
    held_out = np.array([int(prompt.position * 1e6) % 5 == 0 for prompt in training])
    strength = _BAG_STRENGTHS[1]
    if held_out.any() and not held_out.all():
        errors = [
            float(
                (
                    (
                        Ridge(alpha=a).fit(features[~held_out], gains[~held_out]).predict(features[held_out])
                        - gains[held_out]
                    )
                    ** 2
                ).sum()
            )
            for a in _BAG_STRENGTHS
        ]
        strength = _BAG_STRENGTHS[int(np.argmin(errors))]
    model = Ridge(alpha=strength).fit(features, gains)
    return np.asarray(model.predict(words.transform([prompt.text for prompt in judged])), dtype=np.float64)


def _gains(prompts: Sequence[GradedPrompt]) -> Vector:
    return np.array([(prompt.frontier or 0.0) - (prompt.small or 0.0) for prompt in prompts])
