"""The label judge: any instruct model rates a prompt by the next token alone, untrained.

A fixed rubric around the prompt frame ends where a label would follow; the model's logits for the labels at that
position are the judgement. Nothing is generated, so there is no free text to misread and no template to disobey.

What the model would say to a rubric without a request is subtracted first (contextual calibration, Zhao et al. 2021):
small models favour some labels whatever they are asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from analyzer.analysis import Analysis
from analyzer.framing import Encode, Frame, FramedMessage, FrameParameters, frame_prompt
from analyzer.judging import success_by_ability

LABELS = ("1", "2", "3", "4", "5")
"""From trivial to expert work."""

_BEFORE = "How hard is this request for an assistant? 1 is trivial, 5 needs an expert.\nRequest: "
_AFTER = "\nDifficulty from 1 to 5: "
_CONTENT_FREE = "N/A"

# An untrained opinion: it moves predicted success between these, and is never trusted far.
_EASIEST_SUCCESS, _HARDEST_SUCCESS = 0.95, 0.25
_GAIN_AT_HARDEST = 0.45
_MOST_CONFIDENCE = 0.4
_MEDIUM_SHARE = 0.5


class UnsuitableTokenizerError(ValueError):
    """The tokenizer does not give every label a token of its own."""


@dataclass(frozen=True, slots=True)
class Rubric:
    """The fixed text as token ids, and the label tokens that may follow it."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    labels: tuple[int, ...]

    def around(self, frame: Frame) -> Frame:
        """Returns the frame inside the rubric; counts and truncation stay those of the prompt."""
        return replace(frame, token_ids=(*self.before, *frame.token_ids, *self.after))


def rubric(encode: Encode, start: Sequence[int] = ()) -> Rubric:
    """Returns the rubric in a model's tokens, `start` (a begin-of-text token, where the model wants one) before it.

    A label's token is the first by which the encodings of the five endings differ, whatever becomes of blanks.
    Raises UnsuitableTokenizerError.
    """
    endings = [tuple(encode(_AFTER + label)) for label in LABELS]
    shared = next((at for at, tokens in enumerate(zip(*endings, strict=False)) if len(set(tokens)) > 1), 0)
    tokens = tuple(ending[shared] for ending in endings if shared < len(ending))
    if len(set(tokens)) != len(LABELS):
        raise UnsuitableTokenizerError("the tokenizer gives the labels 1 to 5 no tokens of their own")
    return Rubric((*start, *encode(_BEFORE)), endings[0][:shared], tokens)


def content_free_frame(found: Rubric, encode: Encode) -> Frame:
    """Returns what the model reads to show its favourite labels."""
    return found.around(Frame(tuple(encode(_CONTENT_FREE)), prompt_token_count=0, truncated=False))


def labelled_frame(found: Rubric, encode: Encode, parameters: FrameParameters) -> Callable[..., Frame]:
    """Returns the function from a conversation to what the model reads."""

    def frame(messages: Sequence[FramedMessage]) -> Frame:
        return found.around(frame_prompt(messages, encode, parameters))

    return frame


class LabelJudge:
    """Turns the logits of the labels into analyses."""

    def __init__(self, baseline: Sequence[float]) -> None:
        self._baseline = tuple(baseline)

    def __repr__(self) -> str:
        return f"LabelJudge({len(self._baseline)} labels, untrained)"

    def judge(self, scores: Sequence[float], frame: Frame) -> Analysis:
        """Judges one prompt. Its kind of work and the length of an answer are not known."""
        logits = [score - usual for score, usual in zip(scores, self._baseline, strict=True)]
        largest = max(logits)
        weights = [math.exp(logit - largest) for logit in logits]
        total = sum(weights)
        probabilities = [weight / total for weight in weights]
        difficulty = sum(index * share for index, share in enumerate(probabilities)) / (len(probabilities) - 1)
        small = _EASIEST_SUCCESS + difficulty * (_HARDEST_SUCCESS - _EASIEST_SUCCESS)
        return Analysis(
            success=success_by_ability(small, _GAIN_AT_HARDEST * difficulty, _MEDIUM_SHARE),
            confidence=_MOST_CONFIDENCE * _certainty(probabilities),
            task_probabilities={},
            expected_output_tokens=0,
            prompt_token_count=frame.prompt_token_count,
            truncated=frame.truncated,
        )


def _certainty(probabilities: Sequence[float]) -> float:
    """Returns 1 when one label has everything, 0 when all are alike: one minus the normalised entropy."""
    entropy = -sum(share * math.log(share) for share in probabilities if share > 0.0)
    return max(0.0, 1.0 - entropy / math.log(len(probabilities)))
