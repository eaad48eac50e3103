"""A whole training: read, extract features, fit, check the served path, store a revision, measure it."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyzer.adapters.modelstore import ModelStore, Revision
from analyzer.framing import FrameParameters
from analyzer.importing.heads import Head
from analyzer.training.assess import assess
from analyzer.training.augment import augmented
from analyzer.training.dataset import AbilityPools, GradedPrompt, read_prompts
from analyzer.training.engine import Matrix
from analyzer.training.features import FeatureCache, cache_name, extract_features, hidden_state_engine
from analyzer.training.fit import FitSettings, FittedHead, fit_head
from analyzer.training.heads import check_served_scores, make_head, store_head
from analyzer.training.judging_revision import RevisionJudge

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

EVERYDAY_PROMPTS = Path(__file__).parent / "data" / "everyday_prompts.jsonl"


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on what. `name` None makes one from the base's."""

    base: str
    data: Sequence[Path]
    cache: Path
    name: str | None = None
    layers: int | None = None
    threads: int = 2
    pools: AbilityPools = field(default_factory=AbilityPools)
    parameters: FrameParameters = field(default_factory=FrameParameters)
    settings: FitSettings = field(default_factory=FitSettings)
    how: str = ""
    copies: int = 4
    """Changed copies of every prompt with a level: trivial edits and claims about its difficulty, in turn."""


@dataclass(frozen=True)
class TrainingResult:
    """The new revision, its head file, and how it does on the validation part."""

    revision: Revision
    head: Head
    evaluation: dict[str, Any]


def train(store: ModelStore, request: TrainingRequest, bar: Bar) -> TrainingResult:
    """Trains a head for a base revision and stores base and head as a new revision."""
    base = store.verify(request.base)
    prompts = read_prompts(request.data, request.pools)
    fitted = _fit(base, prompts, request, bar)
    head, revision = _store(store, base, fitted, request)
    with bar("measuring on the validation part") as update:
        evaluation = assess(RevisionJudge(revision, threads=request.threads), prompts, progress=update).as_json()
    return TrainingResult(revision, head.model_copy(update={"evaluation": summary(evaluation)}), evaluation)


def _fit(base: Revision, prompts: Sequence[GradedPrompt], request: TrainingRequest, bar: Bar) -> FittedHead:
    used = [prompt for prompt in prompts if not (prompt.validation or prompt.faulty)]
    used += augmented(used, copies=request.copies)
    features = _features(base, used, request, bar).astype(np.float64)
    with bar("fitting") as update:
        update(0, 1)
        fitted = fit_head(features, used, request.settings)
        update(1, 1)
    return fitted


def _features(base: Revision, prompts: Sequence[GradedPrompt], request: TrainingRequest, bar: Bar) -> Matrix:
    with hidden_state_engine(base, request.layers, threads=request.threads) as engine:
        name = cache_name(base, request.layers, request.parameters, engine.instruction_set)
        cache = FeatureCache(request.cache / name)
        with bar("extracting features") as update:
            return extract_features([p.messages for p in prompts], engine, request.parameters, cache, update)


def _store(store: ModelStore, base: Revision, fitted: FittedHead, request: TrainingRequest) -> tuple[Head, Revision]:
    name = request.name or free_name(store, base.name, request.layers)
    head = make_head(
        fitted,
        base,
        name=name,
        layers=request.layers,
        parameters=request.parameters,
        evaluation={"strengths": dict(fitted.chosen), "settings": json.loads(json.dumps(asdict(request.settings)))},
        how_trained=request.how,
    )
    with hidden_state_engine(base, request.layers, threads=request.threads) as engine:
        check_served_scores(engine, fitted.rows.astype("float32"), head.golden, request.parameters)
    return head, store_head(store, base, head)


def free_name(store: ModelStore, base: str, layers: int | None) -> str:
    """Returns the first name of the form BASE-judge-N that no revision has."""
    stem = f"{base[:70]}{f'-{layers}' if layers else ''}-judge"
    taken = set(store.names())
    return next(name for number in range(1, len(taken) + 2) if (name := f"{stem}-{number}") not in taken)


def summary(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Returns the few figures a manifest carries."""
    sources = {
        name: {
            "prompts": source["prompts"],
            "APGR": source["rankings"]["judge: expected gain"]["APGR"],
            "bag of words APGR": source["rankings"].get("bag of words", {}).get("APGR"),
            "ECE": {ability: row["ECE"]["value"] for ability, row in source["calibration"].items()},
        }
        for name, source in evaluation["sources"].items()
    }
    return {
        "validation": sources,
        "levels": {name: row for name, row in evaluation["levels"].items() if name != "prompts"},
        "task macro F1": evaluation["tasks"].get("macro F1"),
        "trivial edit flip rate": evaluation["edits"].get("flip rate"),
    }
