"""One evaluation of one judge: which prompts count, and everything a report shows about them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import JsonValue

from analyzer.analysis import Analysis
from analyzer.training.baselines import bag_of_words
from analyzer.training.dataset import GradedPrompt
from analyzer.training.evaluate import (
    Conversation,
    Evaluation,
    evaluate_edits,
    evaluate_injections,
    evaluate_levels,
    evaluate_outcomes,
    evaluate_tasks,
)
from analyzer.training.judging_revision import Progress, RevisionJudge

_EDITED_PROMPTS = 500


def assess(
    judge: RevisionJudge,
    prompts: Sequence[GradedPrompt],
    *,
    everything: bool = False,
    edits: Sequence[Conversation] = (),
    injections: tuple[Sequence[Conversation], Sequence[Conversation]] = ((), ()),
    progress: Progress = lambda _done, _total: None,
) -> Evaluation:
    """Returns the figures on the validation part, or on all prompts when none of them was trained on."""
    judged = [prompt for prompt in prompts if everything or prompt.validation]
    training = [prompt for prompt in prompts if not prompt.validation and prompt.graded and not prompt.faulty]
    analyses = judge([prompt.messages for prompt in judged], progress)
    evaluation = Evaluation(
        sources=_outcomes(judged, analyses, training, judge.calibration.medium_share),
        levels=evaluate_levels(judged, analyses),
        tasks=evaluate_tasks(judged, analyses),
    )
    edited = edits or [prompt.messages for prompt in judged[:: max(1, len(judged) // _EDITED_PROMPTS)]]
    evaluation = replace(evaluation, edits=evaluate_edits(edited[:_EDITED_PROMPTS], judge))
    clean, attacked = injections
    if clean:
        evaluation = replace(evaluation, injections=evaluate_injections(clean, attacked, analyses, judge))
    return evaluation


def _outcomes(
    judged: Sequence[GradedPrompt], analyses: Sequence[Analysis], training: Sequence[GradedPrompt], medium_share: float
) -> dict[str, dict[str, JsonValue]]:
    places = [place for place, prompt in enumerate(judged) if prompt.graded]
    bag = np.full(len(judged), np.nan)
    if training and places:
        bag[places] = bag_of_words([judged[place] for place in places], training)
    return {
        name: evaluate_outcomes(
            [judged[place] for place in group],
            [analyses[place] for place in group],
            bag[group] if training else None,
            medium_share,
        )
        for name, group in _groups(judged, places).items()
        if group
    }


def _groups(judged: Sequence[GradedPrompt], places: Sequence[int]) -> dict[str, list[int]]:
    """Returns places by source; a source with a faulty subject once without and once with it."""
    groups: dict[str, list[int]] = {}
    for source in sorted({judged[place].source for place in places}):
        group = [place for place in places if judged[place].source == source]
        groups[source] = [place for place in group if not judged[place].faulty]
        if len(groups[source]) < len(group):
            groups[f"{source} with its faulty subject"] = group
    if len({judged[place].source for place in places}) > 1:
        groups["all together"] = [place for place in places if not judged[place].faulty]
    return groups
