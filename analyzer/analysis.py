"""What the analyzer says about a prompt: the domain types every other part of the service passes around."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Ability(enum.StrEnum):
    """A reference ability, weakest first. Which graded models define each one stands in the calibration."""

    SMALL = "small"
    MEDIUM = "medium"
    FRONTIER = "frontier"


class Task(enum.StrEnum):
    """What kind of work a prompt asks for."""

    KNOWLEDGE = "knowledge"
    REASONING = "reasoning"
    MATH = "math"
    CODING = "coding"
    WRITING = "writing"
    EXTRACTION = "extraction"
    TRANSLATION = "translation"
    CONVERSATION = "conversation"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Analysis:
    """One judged prompt. Where the judgement came from (cache, revision, timings) is the caller's to record."""

    success: Mapping[Ability, float]
    """Predicted probability (0..1) of a good answer at each ability, never decreasing."""

    confidence: float
    """How far the judgement may be trusted, 0..1."""

    task_probabilities: Mapping[Task, float]
    """Probability of every task; they sum to one."""

    expected_output_tokens: int
    """Length of a typical answer in tokens: an estimate from per-task medians."""

    prompt_token_count: int
    """Tokens of all messages before truncation; an estimate for very long prompts."""

    truncated: bool
    """Whether the judge saw less than the whole prompt."""

    @property
    def complexity(self) -> float:
        """How likely the SMALL ability is to fail, 0..1."""
        return 1.0 - self.success[Ability.SMALL]

    @property
    def expected_gain(self) -> float:
        """What the FRONTIER ability adds over the SMALL one, 0..1: the score that ranks prompts for escalation."""
        return self.success[Ability.FRONTIER] - self.success[Ability.SMALL]

    @property
    def task(self) -> Task:
        """The most probable task."""
        return max(self.task_probabilities, key=self.task_probabilities.__getitem__)
