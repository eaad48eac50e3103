"""What routing saves on graded prompts: three real models as tiers, prices 1 : 3 : 10, 95 % of the best one's quality.

Reads predictions that `savings_predictions.py` wrote, named by TINYROUTE_SAVINGS: prompts that the head was not fitted
on. Curves and threshold are fitted on four fifths of them and judged on the last, in turn. Figures, no verdict: beside
the router stand the best random mix of two tiers, always the medium tier, and an oracle that knows every grade.
"""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.table import Table

from router.abilities import unchanged
from router.analysis import Task
from router.learning.evidence import Case, raw_success, reaches
from router.learning.recalibration import Observation, RecalibrationSettings, recalibrate
from router.learning.replay import thresholds_between
from router.policy import Policy
from router.request import Tier

Vector = NDArray[np.float64]
Choice = NDArray[np.int64]

MODELS = ("mistral-7b-instruct-v0.3", "llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct")
PRICES = np.array([1.0, 3.0, 10.0])
TIERS = tuple(Tier)
TARGET = 0.95
FOLDS = 5
RESAMPLES = 400
THRESHOLDS = thresholds_between(0.5, 1.05, 0.0025)
BASE = Policy("bench", confidence_threshold=0.0)
SETTINGS = RecalibrationSettings(step=1.0)


@dataclass(frozen=True)
class Graded:
    """Prompts as the router sees them, their fold, and what each tier's answer was worth [n, 3]."""

    cases: list[Case]
    folds: Choice
    scores: Vector


@pytest.fixture
def graded() -> Graded:
    """The file, or a skip that says how to make it."""
    named = os.environ.get("TINYROUTE_SAVINGS")
    if not named:
        pytest.skip("TINYROUTE_SAVINGS names no file; tests/bench/savings_predictions.py makes one")
    with Path(named).open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    cases = [
        Case(str(i), "bench", Task[row["task"]], tuple(row["success"]), row["confidence"]) for i, row in enumerate(rows)
    ]
    folds = np.array([zlib.crc32(row["prompt"].encode()) % FOLDS for row in rows])
    return Graded(cases, folds, np.array([[row["scores"][model] for model in MODELS] for row in rows]))


def fitted(graded: Graded, fold: int) -> Policy:
    """Curves from all other folds."""
    seen = [
        Observation("bench", tier, case.task, raw_success(case, tier, BASE), graded.scores[i, place])
        for i, case in enumerate(graded.cases)
        if graded.folds[i] != fold
        for place, tier in enumerate(TIERS)
    ]
    return replace(BASE, recalibrate=recalibrate(seen, unchanged, SETTINGS))


def reach_table(graded: Graded, policy: Policy) -> Vector:
    """Reaches [n, 3] of every case."""
    return np.array([reaches(case, policy, TIERS) for case in graded.cases])


def chosen(reach: Vector, threshold: float) -> Choice:
    """The tier of each case."""
    return np.argmax(reach >= threshold, axis=1)


def lowest_good(reach: Vector, scores: Vector) -> float:
    """The lowest threshold down to which all reach the target on these grades: lucky ones below don't count."""
    good = THRESHOLDS[-1]
    for threshold in reversed(THRESHOLDS):
        if scores[np.arange(len(scores)), chosen(reach, threshold)].mean() < TARGET * scores[:, -1].mean():
            break
        good = threshold
    return good


def cross_fitted(graded: Graded) -> Choice:
    """The tier of each case by curves and threshold of the other folds."""
    tiers = np.zeros(len(graded.cases), dtype=np.int64)
    for fold in range(FOLDS):
        reach = reach_table(graded, fitted(graded, fold))
        inside = graded.folds == fold
        threshold = lowest_good(reach[~inside], graded.scores[~inside])
        tiers[inside] = chosen(reach[inside], threshold)
    return tiers


def on_the_curve(graded: Graded) -> Choice:
    """The tier of each case at the threshold that just reaches the target, picked with sight of the grades."""
    reach = np.zeros((len(graded.cases), len(TIERS)))
    for fold in range(FOLDS):
        inside = graded.folds == fold
        reach[inside] = reach_table(graded, fitted(graded, fold))[inside]
    return chosen(reach, lowest_good(reach, graded.scores))


def oracle(scores: Vector) -> Choice:
    """The cheapest choice that reaches the target, by one who knows every grade."""
    for worth in np.geomspace(1.0, 1e4, 400):
        tiers = np.argmax(worth * scores - PRICES, axis=1)
        if scores[np.arange(len(scores)), tiers].mean() >= TARGET * scores[:, -1].mean():
            return tiers
    return np.full(len(scores), len(TIERS) - 1)


def best_mix(quality: Vector, wanted: float) -> float:
    """The least cost at which drawing between two tiers gives the quality wanted."""
    costs = [PRICES[i] for i in range(3) if quality[i] >= wanted]
    for low in range(3):
        for high in range(low + 1, 3):
            if quality[low] < wanted <= quality[high]:
                share = (wanted - quality[low]) / (quality[high] - quality[low])
                costs.append(PRICES[low] + share * (PRICES[high] - PRICES[low]))
    return min(costs, default=PRICES[-1])


@dataclass(frozen=True)
class Figures:
    """Shares: quality of the best tier's, saved of its cost, and saved by the best mix of the same quality."""

    quality: float
    saved: float
    saved_by_mix: float


def figures(scores: Vector, tiers: Choice) -> Figures:
    """What a choice comes to."""
    means = scores.mean(axis=0)
    reached = scores[np.arange(len(scores)), tiers].mean()
    mix = best_mix(means, min(reached, means[-1]))
    return Figures(reached / means[-1], 1.0 - PRICES[tiers].mean() / PRICES[-1], 1.0 - mix / PRICES[-1])


def resampled(scores: Vector, tiers: Choice) -> list[Figures]:
    """The same over prompts drawn anew."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(scores), len(scores)) for _ in range(RESAMPLES))
    return [figures(scores[draw], tiers[draw]) for draw in draws]


def interval(values: list[float]) -> str:
    """From 2.5 to 97.5 %."""
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{low:+.1%} .. {high:+.1%}"


@pytest.mark.bench
def test_savings_on_graded_prompts(graded: Graded, publish: Callable[[str, Table, Any], None]) -> None:
    """Prints quality, savings, and points gained over the best random mix of the same quality."""
    medium = np.full(len(graded.cases), 1)
    uncalibrated = chosen(reach_table(graded, BASE), TARGET)
    choices = {
        "router, fitted on other prompts": cross_fitted(graded),
        "router, threshold at just 95 %": on_the_curve(graded),
        "router, as configured": uncalibrated,
        "always medium": medium,
        "oracle": oracle(graded.scores),
    }
    table = Table("", "quality", "saved", "interval", "best mix", "gained", "interval", "S/M/L")
    for name, tiers in choices.items():
        found, again = figures(graded.scores, tiers), resampled(graded.scores, tiers)
        table.add_row(
            name,
            f"{found.quality:.1%}",
            f"{found.saved:.1%}",
            interval([each.saved for each in again]),
            f"{found.saved_by_mix:.1%}",
            f"{found.saved - found.saved_by_mix:+.1%}",
            interval([each.saved - each.saved_by_mix for each in again]),
            "/".join(str(count) for count in np.bincount(tiers, minlength=3)),
        )
    table.caption = f"{len(graded.cases)} prompts; tiers {', '.join(MODELS)} at prices 1 : 3 : 10"
    publish("savings", table, {name: asdict(figures(graded.scores, tiers)) for name, tiers in choices.items()})
