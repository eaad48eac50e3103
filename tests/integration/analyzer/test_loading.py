"""A revision on disk becomes a model that answers, or is refused with the reason; on a tiny Llama of the test's own."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.adapters import runtime
from analyzer.adapters.engine import Engine, EngineError, EngineSettings, Pooling
from analyzer.adapters.modelstore import ModelStore, RevisionDamagedError, RevisionNotFoundError
from analyzer.analysis import Ability, Task
from analyzer.assembling import LoadError, assembled, engine_of
from analyzer.conversation import Message
from analyzer.importing.revisions import NewOutput, derive, store_base
from analyzer.judging import Calibration, HeadJudge
from analyzer.labels import LabelJudge, rubric
from analyzer.loading import ModelLoader, own_cores
from analyzer.manifest import GoldenPrompt
from tests.support.llama_checkpoints import RandomCheckpoint, byte_level_source, tiny_shape

runtime.prepare()

PROMPT = [Message("user", "the quick brown fox writes good code in rust")]
CURVE = {"knots": [[-1.0, 0.1], [1.0, 0.9]]}
ROWS = 3 + len(Task) + 1


def calibration() -> dict[str, Any]:
    """The smallest calibration: one expert, one task row each, one direction."""
    return Calibration.model_validate(
        {
            "biases": [0.0] * ROWS,
            "experts": {"all": {"gate": 0, "gain": 1, "small": 2, "gain_curve": CURVE, "small_curve": CURVE}},
            "tasks": {task: 3 + index for index, task in enumerate(Task)},
            "medium_share": 0.5,
            "familiarity": {"rows": [ROWS - 1], "confidence_curve": {"knots": [[0.0, 1.0]]}},
            "prior": [0.5, 0.8],
            "truncated_confidence": 0.9,
            "token_confidence_curve": {"knots": [[0.0, 1.0]]},
            "output_tokens": dict.fromkeys(Task, 100),
            "abilities": dict.fromkeys(Ability, "a test"),
        }
    ).model_dump(mode="json")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with an untrained revision `base` and one with a head, `head`."""
    found = ModelStore(tmp_path)
    store_base(found, RandomCheckpoint(tiny_shape(), byte_level_source()), name="base")
    rows = np.random.default_rng(3).normal(size=(ROWS, 64)).astype(np.float32) / 8
    derive(found, "base", "head", NewOutput(rows, "rows", "head", calibration=calibration()))
    return found


def test_a_revision_without_a_head_serves_with_the_label_judge(store: ModelStore) -> None:
    """Only the labels' logits are computed, and they are the whole model's own."""
    loaded = ModelLoader(store, 1).load("base")
    frame = loaded.model.frame(PROMPT)
    (scores,) = engine_of(loaded.model).score_now([frame.token_ids])
    assert isinstance(loaded.model.judge, LabelJudge)
    assert loaded.model.judge.judge(scores, frame).confidence <= 0.4

    revision = store.open("base")
    whole = Engine("whole", revision.path, revision.manifest.output.merge, EngineSettings(1, Pooling.LAST))
    (logits,) = whole.score_now([frame.token_ids])
    tokenizer_ids = list(frame.token_ids)
    labels = rubric(_encoder(store)).labels
    assert tokenizer_ids[-1] not in labels
    assert scores == pytest.approx([logits[label] for label in labels], abs=0.05)


def test_a_revision_with_a_head_serves_with_it(store: ModelStore) -> None:
    """The warm-up says how fast it is here."""
    loaded = ModelLoader(store, 1).load("head")
    frame = loaded.model.frame(PROMPT)
    (scores,) = engine_of(loaded.model).score_now([frame.token_ids])
    assert isinstance(loaded.model.judge, HeadJudge)
    assert len(scores) == ROWS
    assert 0.0 < loaded.p99_seconds < 5.0
    assert loaded.tuning is None


def test_padding_never_counts(store: ModelStore) -> None:
    """A prompt has the same scores alone and beside a longer one."""
    for name in ("base", "head"):
        engine = engine_of(ModelLoader(store, 1).load(name).model)
        short, long = list(range(20, 29)), list(range(30, 70))
        together = engine.score_now([short, long])
        assert together[0] == pytest.approx(engine.score_now([short])[0], abs=1e-3)
        assert together[1] == pytest.approx(engine.score_now([long])[0], abs=1e-3)


def test_a_text_without_tokens_is_read_as_a_line_break(store: ModelStore) -> None:
    """A pass needs at least one."""
    model = assembled(store.open("head"), 1)
    assert model.frame([Message("user", "")]).token_ids


def test_threads_are_measured_once_and_remembered(store: ModelStore, tmp_path: Path) -> None:
    """Where none are configured."""
    state = tmp_path / "state"
    first = ModelLoader(store, None, state).load("head").tuning
    assert first is not None
    assert 1 <= first.threads <= own_cores()
    assert ModelLoader(store, None, state).load("head").tuning == first
    assert len(list((state / "tuning").iterdir())) == 1


def test_a_golden_prompt_that_comes_out_differently_stops_the_revision(store: ModelStore) -> None:
    """The recorded scores are the ones to reproduce."""
    rows = np.random.default_rng(4).normal(size=(ROWS, 64)).astype(np.float32) / 8
    wrong = GoldenPrompt(prompt=PROMPT[0].content, scores=(5.0,) * ROWS)
    new = NewOutput(rows, "rows", "head", calibration=calibration())
    derive(store, "base", "golden", new, golden=lambda _folder, _output: [wrong])
    with pytest.raises(LoadError, match="fails a golden prompt"):
        ModelLoader(store, 1).load("golden")


def test_golden_prompts_that_agree_pass(store: ModelStore) -> None:
    """The scores of a first load are those of the next."""
    model = ModelLoader(store, 1).load("head").model
    (scores,) = engine_of(model).score_now([model.frame(PROMPT).token_ids])
    rows = np.random.default_rng(3).normal(size=(ROWS, 64)).astype(np.float32) / 8
    golden = GoldenPrompt(prompt=PROMPT[0].content, scores=tuple(scores))
    new = NewOutput(rows, "rows", "head", calibration=calibration())
    derive(store, "base", "again", new, golden=lambda _folder, _output: [golden])
    assert ModelLoader(store, 1).load("again").model.revision == "again"


def test_a_calibration_that_cannot_be_read_is_named(store: ModelStore) -> None:
    """With what to do."""
    rows = np.zeros((ROWS, 64), dtype=np.float32)
    derive(store, "base", "odd", NewOutput(rows, "rows", "head", calibration={"no": "calibration"}))
    with pytest.raises(LoadError, match="train its head again"):
        ModelLoader(store, 1).load("odd")


def test_damage_and_absence_are_told_apart(store: ModelStore) -> None:
    """Both before anything is loaded."""
    with pytest.raises(RevisionNotFoundError):
        ModelLoader(store, 1).load("zzz")
    with (store.open("head").path / "model.bin").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(RevisionDamagedError):
        ModelLoader(store, 1).load("head")


def test_a_folder_that_is_no_model_is_an_engine_error(tmp_path: Path) -> None:
    """CTranslate2's own errors stay inside."""
    with pytest.raises(EngineError, match="can't be loaded"):
        Engine("none", tmp_path, list, EngineSettings(1, Pooling.MEAN))


async def test_the_event_loop_runs_on_during_a_pass(store: ModelStore) -> None:
    """Passes are made in the engine's own thread."""
    engine = engine_of(ModelLoader(store, 1).load("head").model)
    scoring = asyncio.create_task(engine.score([[5] * 64] * 200))
    turns = 0
    while not scoring.done():
        await asyncio.sleep(0)
        turns += 1
    await scoring
    assert turns > 3


def test_an_engine_nobody_holds_gives_its_thread_back(store: ModelStore) -> None:
    """Models come and go while the service runs."""

    def engine_threads() -> int:
        return sum(thread.name.startswith("engine") for thread in threading.enumerate())

    gc.collect()
    before = engine_threads()
    model = ModelLoader(store, 1).load("head").model
    assert engine_threads() == before + 1
    del model
    gc.collect()
    until = time.monotonic() + 5
    while engine_threads() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert engine_threads() == before


def _encoder(store: ModelStore) -> Any:
    from analyzer.adapters.tokenizer import open_tokenizer  # noqa: PLC0415 - used here alone

    revision = store.open("base")
    manifest = revision.manifest
    return open_tokenizer(revision.path, manifest.tokenizer, manifest.frame.special_tokens).encode
