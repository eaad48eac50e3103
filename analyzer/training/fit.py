"""Fits a head: experts by kind of prompt, the gate between them, task rows, and what is needed for confidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from analyzer.analysis import Ability, Task
from analyzer.judging import Calibration, Curve, Expert, Familiarity
from analyzer.training.dataset import OPEN_KIND, GradedPrompt
from analyzer.training.linear import (
    FOLD_COUNT,
    Indices,
    LinearFit,
    Matrix,
    Vector,
    fit_ridge,
    gain_curve,
    success_curve,
)

ABILITIES: Mapping[Ability, str] = {
    Ability.SMALL: "Mixtral-8x7B-Instruct; mean of mistral-7b-v0.3, gemma-2-9b, llama-3.1-8b and qwen2.5-7b instruct",
    Ability.MEDIUM: "between the other two on the log-odds scale",
    Ability.FRONTIER: "GPT-4-1106; mean of llama-3.1-nemotron-51b and llama-3.3-nemotron-super-49b",
}

# Typical answer lengths in tokens; an estimate until outcomes say better.
OUTPUT_TOKENS: Mapping[Task, int] = {
    Task.KNOWLEDGE: 180,
    Task.REASONING: 320,
    Task.MATH: 280,
    Task.CODING: 420,
    Task.WRITING: 380,
    Task.EXTRACTION: 120,
    Task.TRANSLATION: 90,
    Task.CONVERSATION: 60,
    Task.OTHER: 200,
}


class FitError(ValueError):
    """The data cannot teach what was asked for; the message says what is missing."""


@dataclass(frozen=True)
class FitSettings:
    """What may be chosen about a fit; the defaults won by cross-validation on the training part."""

    gate_strength: float = 1e-2
    task_strength: float = 1e-2
    familiarity_rows: int = 24
    medium_share: float = 0.7
    prior: tuple[float, float] = (0.65, 0.85)
    truncated_confidence: float = 0.9
    difficulty_share: float = 0.5
    """Share of difficulty, beside gain, in what graded prompts teach the expert for open-ended work."""
    graded_weight: float = 0.01
    """Weight there of a graded prompt against one with a level."""


@dataclass
class FittedHead:
    """Output rows [k, width] for raw hidden states, and how to read their scores."""

    rows: Matrix
    calibration: Calibration
    chosen: dict[str, float]
    """Regularisation strengths that cross-validation chose, by row."""


@dataclass
class _RowBook:
    """Collects rows over standardised features and turns them into rows over raw ones."""

    mean: Vector
    scale: Vector
    rows: list[Vector] = field(default_factory=list)
    biases: list[float] = field(default_factory=list)

    def add(self, coefficients: Vector, intercept: float) -> int:
        """Returns the index of the new row."""
        raw = coefficients / self.scale
        self.rows.append(raw)
        self.biases.append(intercept - float(raw @ self.mean))
        return len(self.rows) - 1


def fit_head(features: Matrix, prompts: Sequence[GradedPrompt], settings: FitSettings | None = None) -> FittedHead:
    """Fits on all prompts given; `features` [n, width] are raw means of hidden states, one row a prompt."""
    settings = settings or FitSettings()
    raw = np.asarray(features, dtype=np.float64)
    mean, scale = raw.mean(axis=0), raw.std(axis=0) + 1e-6
    standard = (raw - mean) / scale
    book = _RowBook(mean, scale)
    strengths: dict[str, float] = {}
    experts = _fit_experts(_Fitting(standard, prompts, settings, book, strengths))
    calibration = Calibration(
        experts=experts,
        tasks=_fit_tasks(standard, prompts, settings, book),
        familiarity=_fit_familiarity(standard, settings, book),
        biases=tuple(book.biases),
        medium_share=settings.medium_share,
        prior=settings.prior,
        truncated_confidence=settings.truncated_confidence,
        token_confidence_curve=Curve(knots=((0.0, 0.0), (1.0, 0.6), (3.0, 1.0))),
        output_tokens=dict(OUTPUT_TOKENS),
        abilities=dict(ABILITIES),
    )
    return FittedHead(np.stack(book.rows), calibration, strengths)


def fold_of(prompts: Sequence[GradedPrompt]) -> Indices:
    """Returns the cross-validation fold of each prompt: the same question is always in the same one."""
    return np.array([int(prompt.position * 1e6) % FOLD_COUNT for prompt in prompts])


@dataclass(frozen=True)
class _Fitting:
    """What fitting one expert after another needs: standardised features and where the rows go."""

    features: Matrix
    prompts: Sequence[GradedPrompt]
    settings: FitSettings
    book: _RowBook
    strengths: dict[str, float]


def _fit_experts(fitting: _Fitting) -> dict[str, Expert]:
    kinds = np.array([prompt.kind for prompt in fitting.prompts])
    known = np.array([prompt.small is not None and prompt.frontier is not None for prompt in fitting.prompts])
    if not known.any():
        raise FitError("no prompt has outcomes or a level; see the fields a data file may have")
    names = [*sorted(set(kinds[known]) - {OPEN_KIND}), OPEN_KIND]
    gates = _fit_gate(fitting.features[known], list(kinds[known]), names, fitting.settings, fitting.book)
    graded = np.where(known, fitting.settings.graded_weight, 0.0)
    return {
        name: _fit_expert(
            fitting, name, np.where(kinds == name, known * 1.0, graded * (name == OPEN_KIND)), gates[name]
        )
        for name in names
    }


def _fit_expert(fitting: _Fitting, name: str, weights: Vector, gate: int) -> Expert:
    used = weights > 0
    features, weights = fitting.features[used], weights[used]
    prompts = [prompt for prompt, keep in zip(fitting.prompts, used, strict=True) if keep]
    folds = fold_of(prompts)
    small = np.array([prompt.small for prompt in prompts], dtype=np.float64)
    gain = np.array([prompt.frontier for prompt in prompts], dtype=np.float64) - small
    target = _with_difficulty(gain, small, prompts, fitting.settings) if name == OPEN_KIND else gain
    gain_fit = fit_ridge(features, target, weights, folds)
    small_fit = fit_ridge(features, small, weights, folds)
    fitting.strengths.update({f"{name}.gain": gain_fit.strength, f"{name}.small": small_fit.strength})
    return Expert(
        gate=gate,
        gain=_add(fitting.book, gain_fit),
        small=_add(fitting.book, small_fit),
        gain_curve=gain_curve(gain_fit.held_out, target, weights),
        small_curve=success_curve(small_fit.held_out, small, weights),
    )


def _with_difficulty(gain: Vector, small: Vector, prompts: Sequence[GradedPrompt], settings: FitSettings) -> Vector:
    """Returns gains in which a graded prompt's own gain, a noisy 0 or 1, is mixed with how hard it was."""
    graded = np.array([prompt.graded for prompt in prompts])
    if not graded.any():
        return gain
    failure = 1.0 - small
    scale = gain[graded].mean() / max(failure[graded].mean(), 1e-9)
    share = settings.difficulty_share
    return np.where(graded, (1.0 - share) * gain + share * scale * failure, gain)


def _add(book: _RowBook, fit: LinearFit) -> int:
    return book.add(fit.coefficients, fit.intercept)


def _fit_gate(
    features: Matrix, kinds: Sequence[str], names: Sequence[str], settings: FitSettings, book: _RowBook
) -> dict[str, int]:
    width = features.shape[1]
    if len(set(kinds)) == 1:
        return {name: book.add(np.zeros(width), 0.0 if name == kinds[0] else -20.0) for name in names}
    model = LogisticRegression(C=settings.gate_strength, class_weight="balanced", max_iter=300).fit(features, kinds)
    return _add_logits(model, names, book)


def _fit_tasks(
    features: Matrix, prompts: Sequence[GradedPrompt], settings: FitSettings, book: _RowBook
) -> dict[Task, int]:
    labelled = np.array([prompt.task is not None for prompt in prompts])
    tasks = [prompt.task.value for prompt in prompts if prompt.task is not None]
    if len(set(tasks)) < 2:  # noqa: PLR2004 - one class teaches nothing
        return {task: book.add(np.zeros(features.shape[1]), 0.0 if task is Task.OTHER else -3.0) for task in Task}
    model = LogisticRegression(C=settings.task_strength, class_weight="balanced", max_iter=300)
    rows = _add_logits(model.fit(features[labelled], tasks), [task.value for task in Task], book)
    return {Task(name): row for name, row in rows.items()}


def _add_logits(model: LogisticRegression, names: Sequence[str], book: _RowBook) -> dict[str, int]:
    """Adds a row a class; a class the model never saw gets a logit no other falls below."""
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # noqa: PLR2004 - scikit-learn keeps one row for two classes
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.array([-1, 1]) * intercepts / 2
    seen = {str(name): index for index, name in enumerate(model.classes_)}
    nothing = np.zeros(coefficients.shape[1])
    return {
        name: book.add(coefficients[seen[name]], float(intercepts[seen[name]]))
        if name in seen
        else book.add(nothing, -20.0)
        for name in names
    }


def _fit_familiarity(features: Matrix, settings: FitSettings, book: _RowBook) -> Familiarity:
    """Whitens the leading directions: the mean square of their scores is 1 on average and large for foreign prompts."""
    analysis = PCA(min(settings.familiarity_rows, *features.shape), random_state=0).fit(features)
    deviations = np.sqrt(analysis.explained_variance_) + 1e-6
    rows = tuple(
        book.add(direction / deviation, -float(direction @ analysis.mean_) / float(deviation))
        for direction, deviation in zip(analysis.components_, deviations, strict=True)
    )
    distances = (analysis.transform(features) ** 2 / deviations**2).mean(axis=1)
    usual, rare = (float(edge) for edge in np.quantile(distances, [0.99, 0.9999]))
    return Familiarity(rows=rows, confidence_curve=Curve(knots=((usual, 1.0), (max(rare, usual + 1.0) * 2.0, 0.2))))
