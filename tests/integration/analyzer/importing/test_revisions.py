"""From a checkpoint to a revision that serves, and from a revision to one with a head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analyzer.adapters import runtime
from analyzer.adapters.modelstore import ModelStore
from analyzer.adapters.tokenizer import open_tokenizer
from analyzer.manifest import BaseWeights, GoldenPrompt, Manifest
from tests.support.llama_checkpoints import RandomCheckpoint, byte_level_source, tiny_shape

runtime.prepare()

from analyzer.importing.activation import TooSlowError, activate  # noqa: E402 - only after the runtime is prepared
from analyzer.importing.heads import Head, HeadError, attach, encode_rows, load_head, shipped_head  # noqa: E402
from analyzer.importing.latency import measure_p99_ms  # noqa: E402
from analyzer.importing.revisions import base_revision_name, store_base  # noqa: E402

SHA = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "models")


@pytest.fixture
def checkpoint() -> RandomCheckpoint:
    """A tiny checkpoint of known origin."""
    base = BaseWeights(name="tests/Tiny Llama!", licence="CC0-1.0", source="test", sha256=SHA)
    return RandomCheckpoint(tiny_shape(), byte_level_source(), base)


def make_head(**changes: object) -> Head:
    """Returns a head of three random rows for the tiny checkpoint's first two layers."""
    rows = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    fields = {
        "revision": "tiny-head-1",
        "base_sha256": SHA,
        "layers": 2,
        "width": 64,
        "instruction_set": "AVX2",
        "rows": encode_rows(rows),
        "calibration": {"biases": [0.0, 1.0, 2.0]},
        "golden": (GoldenPrompt(prompt="hello", scores=(0.5,)),),
    }
    return Head.model_validate(fields | changes)


def test_a_stored_base_is_untrained_and_complete(store: ModelStore, checkpoint: RandomCheckpoint) -> None:
    """Its manifest tells the whole story and its files verify."""
    revision = store_base(store, checkpoint)
    manifest = store.verify(revision.name).manifest
    assert revision.name == "tiny-llama-3of3-int8" == base_revision_name(checkpoint, None, "int8")
    assert (manifest.judge, manifest.output.kind, manifest.output.rows) == ("untrained", "vocabulary", 320)
    assert set(manifest.files) == {"model.bin", "config.json", "vocabulary.json", "tokenizer.json"}
    assert manifest.frame.special_tokens == checkpoint.tokenizer.special_tokens
    tokenizer = open_tokenizer(revision.path, manifest.tokenizer, manifest.frame.special_tokens)
    assert tokenizer.encode("the quick fox")


def test_a_head_becomes_a_revision_of_its_own(store: ModelStore, checkpoint: RandomCheckpoint) -> None:
    """Fewer layers, learned rows, calibration and golden prompts; the base stays as it was."""
    base = store_base(store, checkpoint)
    manifest = attach(store, base, make_head()).manifest
    assert (manifest.judge, manifest.derived_from, manifest.instruction_set) == ("head", base.name, "AVX2")
    assert (manifest.output.kind, manifest.output.rows, manifest.output.parts) == ("rows", 3, 2)
    assert manifest.architecture.layers_kept == 2
    assert manifest.calibration == {"biases": [0.0, 1.0, 2.0]}
    assert manifest.golden[0].prompt == "hello"
    assert manifest.frame.special_tokens == checkpoint.tokenizer.special_tokens
    store.verify("tiny-head-1")
    store.verify(base.name)


def test_attaching_twice_gives_the_same_revision(store: ModelStore, checkpoint: RandomCheckpoint) -> None:
    """A second pull does nothing new."""
    base = store_base(store, checkpoint)
    assert attach(store, base, make_head()) == attach(store, base, make_head())


@pytest.mark.parametrize(
    "change", [{"base_sha256": "cd" * 32}, {"layers": 4}, {"width": 32}, {"quantization": "float32"}]
)
def test_a_head_of_other_weights_is_refused(
    change: dict[str, object], store: ModelStore, checkpoint: RandomCheckpoint
) -> None:
    """A head only fits the features it was trained on."""
    base = store_base(store, checkpoint)
    with pytest.raises(HeadError, match="not trained on"):
        attach(store, base, make_head(**change))


def test_the_shipped_head_is_found_by_its_weights(
    store: ModelStore, checkpoint: RandomCheckpoint, tmp_path: Path
) -> None:
    """The folder of heads is searched for one that fits."""
    manifest: Manifest = store_base(store, checkpoint).manifest
    assert shipped_head(manifest, tmp_path) is None
    (tmp_path / "tiny.json").write_text(make_head().model_dump_json())
    (tmp_path / "other.json").write_text(make_head(base_sha256="cd" * 32).model_dump_json())
    assert shipped_head(manifest, tmp_path) == make_head()


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 9}'])
def test_a_damaged_head_file_is_named(content: str, tmp_path: Path) -> None:
    """A typed error with the file's name."""
    (tmp_path / "h.json").write_text(content)
    with pytest.raises(HeadError, match=r"h\.json"):
        load_head(tmp_path / "h.json")
    with pytest.raises(HeadError, match="no head file"):
        load_head(tmp_path / "none.json")


@pytest.mark.parametrize("rows", ["", "not base64!", "AAAA"])
def test_rows_that_are_no_rows_are_refused(rows: str) -> None:
    """Neither garbage nor a broken row gets into a model."""
    head = make_head(rows=rows)
    with pytest.raises(HeadError, match="width 64"):
        head.array()


def test_a_slow_revision_is_refused_unless_forced(store: ModelStore, checkpoint: RandomCheckpoint) -> None:
    """The message gives the figure and the ways out; force skips the clock."""
    name = store_base(store, checkpoint).name
    with pytest.raises(TooSlowError, match=r"250 ms .* --layers"):
        activate(store, name, measure=lambda _folder: 250.0)
    assert store.active_name() is None
    assert activate(store, name, measure=lambda _folder: 250.0, force=True)[1] is None
    assert store.active_name() == name


def test_a_base_is_timed_as_the_label_judge_runs_it(store: ModelStore, checkpoint: RandomCheckpoint) -> None:
    """Not with its whole vocabulary, but with a few label rows, and really run."""
    name = store_base(store, checkpoint).name
    seen: list[Path] = []

    def measure(folder: Path) -> float:
        seen.append(folder)
        return measure_p99_ms(folder, threads=1)

    _, p99_ms = activate(store, name, measure=measure)
    assert p99_ms is not None
    assert 0 < p99_ms < 100
    assert seen[0].parent.name == "staging"
