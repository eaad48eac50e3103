"""The head judge: from the engine's raw scores of one prompt to an `Analysis`.

A forward pass returns k scores a prompt: learned output rows, averaged over the frame's positions. The rows are an
ensemble of linear experts, one a *kind* of prompt (an exam question and a design task are hard for different reasons),
a gate that says which kind it is, one row a task, and a few whitened directions that show how foreign the prompt is.
Everything after the forward pass is arithmetic on these k numbers and takes microseconds.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from analyzer.analysis import Ability, Analysis, Task
from analyzer.framing import Frame

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Knot = tuple[float, float]
_Key = TypeVar("_Key")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Curve(_Frozen):
    """A piecewise linear function through `knots` (x ascending), constant beyond its ends."""

    knots: Annotated[tuple[Knot, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ascends(self) -> "Curve":
        """Refuses knots whose x do not strictly ascend."""
        xs = [x for x, _ in self.knots]
        if any(left >= right for left, right in pairwise(xs)):
            message = "the x of a curve's knots must strictly ascend"
            raise ValueError(message)
        return self

    def __call__(self, x: float) -> float:
        """Returns the interpolated y."""
        index = bisect_right(self.knots, x, key=lambda knot: knot[0])
        if index == 0:
            return self.knots[0][1]
        if index == len(self.knots):
            return self.knots[-1][1]
        (x0, y0), (x1, y1) = self.knots[index - 1 : index + 1]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


class Expert(_Frozen):
    """The rows of one kind of prompt, as indices into the scores, and their calibration."""

    gate: int = Field(ge=0)
    gain: int = Field(ge=0)
    small: int = Field(ge=0)
    gain_curve: Curve
    small_curve: Curve


class Familiarity(_Frozen):
    """How far a prompt lies from the training prompts: the mean square of whitened directions."""

    rows: tuple[int, ...]
    confidence_curve: Curve


class Calibration(_Frozen):
    """Everything that turns a revision's scores into an analysis; the manifest's `calibration` block."""

    biases: tuple[float, ...]
    """Added to the scores, one a row."""

    experts: Mapping[str, Expert]
    """By kind of prompt."""

    tasks: Mapping[Task, int]
    """Row of each task's logit."""

    medium_share: Probability
    """Where MEDIUM lies between SMALL (0) and FRONTIER (1) on the log-odds scale."""

    familiarity: Familiarity
    prior: tuple[Probability, Probability]
    """Success at SMALL and at FRONTIER of a prompt about which nothing is known."""

    truncated_confidence: Probability
    """Confidence is multiplied by this when the judge saw only part of the prompt."""

    token_confidence_curve: Curve
    """Confidence is multiplied by this function of the number of tokens read: very few show no signal."""

    output_tokens: Mapping[Task, int]
    """Median answer length in tokens a task."""

    abilities: Mapping[Ability, str]
    """The graded models that define each reference ability, in words."""

    @model_validator(mode="after")
    def _rows_exist(self) -> "Calibration":
        """Refuses a row index beyond the rows, and a missing task or expert."""
        indices = [*self.tasks.values(), *self.familiarity.rows]
        indices += [row for expert in self.experts.values() for row in (expert.gate, expert.gain, expert.small)]
        if not self.experts or set(self.tasks) != set(Task) or set(self.output_tokens) != set(Task):
            message = "a calibration needs an expert, and a row and a median length for every task"
            raise ValueError(message)
        if max(indices) >= len(self.biases):
            message = f"row {max(indices)} does not exist: there are {len(self.biases)}"
            raise ValueError(message)
        return self

    @property
    def row_count(self) -> int:
        """How many scores a prompt must bring."""
        return len(self.biases)


class HeadJudge:
    """Turns raw scores into analyses."""

    def __init__(self, calibration: Calibration) -> None:
        """Keeps the calibration."""
        self._calibration = calibration

    def __repr__(self) -> str:
        """Names the kinds of prompt this judge tells apart."""
        return f"HeadJudge({', '.join(self._calibration.experts)}; {self._calibration.row_count} rows)"

    def judge(self, scores: Sequence[float], frame: Frame) -> Analysis:
        """Judges one prompt from its `row_count` raw scores (mean over positions, no bias) and its frame.

        A prompt that shows little signal is pulled towards the prior, so that it never looks easy by accident.
        """
        calibration = self._calibration
        if len(scores) != calibration.row_count:
            message = f"expected {calibration.row_count} scores, got {len(scores)}"
            raise ValueError(message)
        rows = [score + bias for score, bias in zip(scores, calibration.biases, strict=True)]
        confidence = _confidence(rows, frame, calibration)
        small, gain = _expert_opinion(rows, calibration)
        prior_small, prior_frontier = calibration.prior
        small = confidence * small + (1.0 - confidence) * prior_small
        gain = confidence * gain + (1.0 - confidence) * (prior_frontier - prior_small)
        tasks = _softmax({task: rows[row] for task, row in calibration.tasks.items()})
        return Analysis(
            success=success_by_ability(small, gain, calibration.medium_share),
            confidence=confidence,
            task_probabilities=tasks,
            expected_output_tokens=round(sum(tasks[task] * calibration.output_tokens[task] for task in tasks)),
            prompt_token_count=frame.prompt_token_count,
            truncated=frame.truncated,
        )


def success_by_ability(small: float, gain: float, medium_share: float) -> dict[Ability, float]:
    """Returns success at each ability, never decreasing; the gain is kept as it is, because it ranks prompts.

    MEDIUM lies between the other two on the log-odds scale, as one ability parameter of an item-response model would
    put it (Rasch 1960).
    """
    gain = _clip(gain, 0.0, 1.0)
    small = _clip(small, 0.0, 1.0 - gain)
    frontier = small + gain
    middle = _sigmoid((1.0 - medium_share) * _log_odds(small) + medium_share * _log_odds(frontier))
    return {Ability.SMALL: small, Ability.MEDIUM: _clip(middle, small, frontier), Ability.FRONTIER: frontier}


def _expert_opinion(rows: Sequence[float], calibration: Calibration) -> tuple[float, float]:
    """Returns success at SMALL and gain, averaged over the experts as the gate weighs them."""
    weights = _softmax({kind: rows[expert.gate] for kind, expert in calibration.experts.items()})
    small = gain = 0.0
    for kind, expert in calibration.experts.items():
        small += weights[kind] * expert.small_curve(rows[expert.small])
        gain += weights[kind] * expert.gain_curve(rows[expert.gain])
    return small, gain


def _confidence(rows: Sequence[float], frame: Frame, calibration: Calibration) -> float:
    """Returns how far this prompt resembles what the judge was trained on and could be read, 0..1."""
    familiarity = calibration.familiarity
    squares = [rows[row] ** 2 for row in familiarity.rows]
    confidence = familiarity.confidence_curve(sum(squares) / len(squares)) if squares else 1.0
    confidence *= calibration.token_confidence_curve(float(len(frame.token_ids)))
    if frame.truncated:
        confidence *= calibration.truncated_confidence
    return _clip(confidence, 0.0, 1.0)


def _softmax(logits: Mapping[_Key, float]) -> dict[_Key, float]:
    """Returns probabilities that sum to one."""
    largest = max(logits.values())
    weights = {key: math.exp(logit - largest) for key, logit in logits.items()}
    total = sum(weights.values())
    return {key: weight / total for key, weight in weights.items()}


def _sigmoid(x: float) -> float:
    """Returns the logistic function, also for large |x|."""
    return 0.5 * (1.0 + math.tanh(0.5 * x))


def _log_odds(probability: float) -> float:
    """Returns log(p / (1 - p)), kept finite."""
    probability = _clip(probability, 1e-6, 1.0 - 1e-6)
    return math.log(probability / (1.0 - probability))


def _clip(value: float, low: float, high: float) -> float:
    """Returns `value` held between `low` and `high`."""
    return min(max(value, low), high)
