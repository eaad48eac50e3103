"""One evaluation of one judge: which prompts count, and everything a report shows about them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from pydantic import JsonValue

from analyzer.analysis import Analysis
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
    pairs = [(p, a) for p, a in zip(judged, analyses, strict=True) if p.graded]
    groups = {source: list(group) for source, group in groupby(sorted(pairs, key=_source), key=_source)}
    for source, group in list(groups.items()):
        sound = [(p, a) for p, a in group if not p.faulty]
        if len(sound) < len(group):
            groups[f"{source} with its faulty subject"] = group
            groups[source] = sound
    if len(groups) > 1:
        groups["all together"] = [(p, a) for p, a in pairs if not p.faulty]
    return {
        name: evaluate_outcomes([p for p, _ in group], [a for _, a in group], training, medium_share)
        for name, group in groups.items()
        if group
    }


def _source(pair: tuple[GradedPrompt, Analysis]) -> str:
    return str(attrgetter("source")(pair[0]))
