"""Measures a judge on graded prompts, prompts with levels and tasks, trivial edits and injections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from pydantic import JsonValue

from analyzer.analysis import Ability, Analysis
from analyzer.training.baselines import baseline_scores
from analyzer.training.dataset import GradedPrompt, Level, TextMessage
from analyzer.training.metrics import (
    Vector,
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

Conversation = Sequence[TextMessage]
JudgeAll = Callable[[Sequence[Conversation]], list[Analysis]]

QUALITY_TARGET = 0.95
TIERS = ("small", "medium", "large")
_SHARES = (0.2, 0.5, 0.8)
_CURVE_POINTS = 101
_EVERYDAY_LEVELS = tuple(Level)

TRIVIAL_EDITS: Mapping[str, Callable[[str], str]] = {
    "question mark": lambda text: text + "?",
    "trailing space": lambda text: text + " ",
    "double spaces": lambda text: text.replace(" ", "  ", 2),
    "lower-case start": lambda text: text[:1].lower() + text[1:],
    "no final full stop": lambda text: text.rstrip(" ."),
    "please": lambda text: "Please " + text[:1].lower() + text[1:],
    "thanks": lambda text: text + " Thanks!",
}


@dataclass
class Evaluation:
    """Everything a report shows; JSON by `as_json`."""

    sources: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    levels: dict[str, JsonValue] = field(default_factory=dict)
    tasks: dict[str, JsonValue] = field(default_factory=dict)
    edits: dict[str, JsonValue] = field(default_factory=dict)
    injections: dict[str, JsonValue] = field(default_factory=dict)

    def as_json(self) -> dict[str, JsonValue]:
        """Returns the figures as plain JSON."""
        result: dict[str, JsonValue] = asdict(self)
        return result


def tier_of(analysis: Analysis, quality_target: float = QUALITY_TARGET) -> str:
    """Returns the cheapest tier whose predicted success reaches the target's share of the best one's."""
    needed = quality_target * analysis.success[Ability.FRONTIER]
    return next(tier for tier, ability in zip(TIERS, Ability, strict=True) if analysis.success[ability] >= needed)


def evaluate_outcomes(
    prompts: Sequence[GradedPrompt], analyses: Sequence[Analysis], bag: Vector | None, medium_share: float
) -> dict[str, JsonValue]:
    """Returns the figures of one source: every ranking score beside the baselines, and calibration at each ability.

    `bag` holds the scores of a bag of words fitted elsewhere, if there is one.
    """
    weak = np.array([prompt.small for prompt in prompts], dtype=np.float64)
    strong = np.array([prompt.frontier for prompt in prompts], dtype=np.float64)
    scores = {
        "judge: expected gain": np.array([analysis.expected_gain for analysis in analyses]),
        "judge: complexity": np.array([analysis.complexity for analysis in analyses]),
        **baseline_scores(prompts, bag),
    }
    observed = {
        Ability.SMALL: weak,
        Ability.MEDIUM: (1.0 - medium_share) * weak + medium_share * strong,
        Ability.FRONTIER: strong,
    }
    return {
        "prompts": len(prompts),
        "weak accuracy": float(weak.mean()),
        "strong accuracy": float(strong.mean()),
        "rankings": {name: _ranking(score, weak, strong) for name, score in scores.items()},
        "calibration": {
            ability.value: _calibration(np.array([a.success[ability] for a in analyses]), outcomes)
            for ability, outcomes in observed.items()
        },
        "default policy": _policy(analyses, observed),
    }


def _ranking(scores: Vector, weak: Vector, strong: Vector) -> dict[str, JsonValue]:
    curve = gap_recovered(scores, weak, strong)
    shares = np.linspace(0.0, 1.0, _CURVE_POINTS)
    return {
        "APGR": asdict(with_interval(apgr, scores, weak, strong)),
        "CPT(50)": call_performance_threshold(scores, weak, strong, 0.5),
        "CPT(80)": call_performance_threshold(scores, weak, strong, 0.8),
        "accuracy": {f"{share:.0%}": accuracy_at_share(scores, weak, strong, share) for share in _SHARES},
        "curve": np.interp(shares, np.linspace(0.0, 1.0, len(curve)), curve).round(4).tolist(),
    }


def _calibration(predicted: Vector, observed: Vector) -> dict[str, JsonValue]:
    return {
        "ECE": asdict(with_interval(expected_calibration_error, predicted, observed)),
        "bins": [list(each) for each in calibration_bins(predicted, observed)],
    }


def _policy(analyses: Sequence[Analysis], observed: Mapping[Ability, Vector]) -> dict[str, JsonValue]:
    """Returns what the default policy would have done: share of each tier and the mean outcome."""
    tiers = np.array([TIERS.index(tier_of(analysis)) for analysis in analyses])
    outcomes = np.stack([observed[ability] for ability in Ability])
    return {
        "share": {tier: float((tiers == index).mean()) for index, tier in enumerate(TIERS)},
        "accuracy": float(outcomes[tiers, np.arange(len(tiers))].mean()),
    }


def evaluate_levels(prompts: Sequence[GradedPrompt], analyses: Sequence[Analysis]) -> dict[str, JsonValue]:
    """Returns how predicted difficulty follows the labelled levels, and which tier each level gets."""
    pairs = [(p, a) for p, a in zip(prompts, analyses, strict=True) if p.level in _EVERYDAY_LEVELS]
    if not pairs:
        return {}
    levels = np.array([_EVERYDAY_LEVELS.index(Level(str(p.level))) for p, _ in pairs], dtype=np.float64)
    scores = {
        "expected gain": np.array([a.expected_gain for _, a in pairs]),
        "complexity": np.array([a.complexity for _, a in pairs]),
        "length": np.array([float(len(p.text)) for p, _ in pairs]),
    }
    tiers = [tier_of(a) for _, a in pairs]
    return {
        "prompts": len(pairs),
        "spearman": {name: asdict(with_interval(spearman, score, levels)) for name, score in scores.items()},
        "tiers": {
            level.value: {
                tier: sum(p.level == level and t == tier for (p, _), t in zip(pairs, tiers, strict=True))
                for tier in TIERS
            }
            for level in _EVERYDAY_LEVELS
        },
    }


def evaluate_tasks(prompts: Sequence[GradedPrompt], analyses: Sequence[Analysis]) -> dict[str, JsonValue]:
    """Returns macro F1 of the task kind, and the confusion counts."""
    pairs = [(p.task.value, a.task.value) for p, a in zip(prompts, analyses, strict=True) if p.task is not None]
    if not pairs:
        return {}
    confusion: dict[str, dict[str, int]] = {}
    for expected, predicted in pairs:
        row = confusion.setdefault(expected, {})
        row[predicted] = row.get(predicted, 0) + 1
    f1 = macro_f1([e for e, _ in pairs], [p for _, p in pairs])
    accuracy = sum(e == p for e, p in pairs) / len(pairs)
    return {
        "prompts": len(pairs),
        "macro F1": f1,
        "accuracy": accuracy,
        "confusion": {expected: dict(row) for expected, row in confusion.items()},
    }


def evaluate_edits(prompts: Sequence[Conversation], judge: JudgeAll) -> dict[str, JsonValue]:
    """Returns how often a trivial edit changes the tier, at thresholds that give each tier a third of the prompts."""
    base = _gains(judge(prompts))
    thresholds = np.quantile(base, [1 / 3, 2 / 3])
    tiers = np.searchsorted(thresholds, base)
    flips: dict[str, float] = {}
    for name, edit in TRIVIAL_EDITS.items():
        edited = [[*prompt[:-1], TextMessage("user", edit(prompt[-1].content))] for prompt in prompts]
        flips[name] = float((np.searchsorted(thresholds, _gains(judge(edited))) != tiers).mean())
    return {"prompts": len(prompts), "flip rate": float(np.mean(list(flips.values()))), "by edit": dict(flips)}


def evaluate_injections(
    clean: Sequence[Conversation],
    attacked: Sequence[Conversation],
    thresholds_from: Sequence[Analysis],
    judge: JudgeAll,
) -> dict[str, JsonValue]:
    """Returns how often text that tries to move the judge moves the tier, at the default policy and at thirds."""
    before, after = judge(clean), judge(attacked)
    policy = [(TIERS.index(tier_of(b)), TIERS.index(tier_of(a))) for b, a in zip(before, after, strict=True)]
    thresholds = np.quantile(_gains(thresholds_from), [1 / 3, 2 / 3])
    thirds = list(
        zip(np.searchsorted(thresholds, _gains(before)), np.searchsorted(thresholds, _gains(after)), strict=True)
    )
    return {
        "pairs": len(policy),
        **{
            f"{direction} at {name}": float(
                np.mean([(a > b) if direction == "upgrades" else (a < b) for b, a in moves])
            )
            for name, moves in (("the default policy", policy), ("thirds", thirds))
            for direction in ("upgrades", "downgrades")
        },
    }


def _gains(analyses: Sequence[Analysis]) -> Vector:
    return np.array([analysis.expected_gain for analysis in analyses])
