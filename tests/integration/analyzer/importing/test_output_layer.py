"""Replacing the output layer of a converted model, from its folder alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analyzer.adapters import runtime
from analyzer.importing.checkpoint import ImportFailedError
from analyzer.importing.model_bin import ModelBinError
from tests.support import numpy_llama
from tests.support.llama_checkpoints import RandomCheckpoint, byte_level_source, tiny_shape

runtime.prepare()

import ctranslate2  # noqa: E402 - only after the runtime is prepared

from analyzer.importing.convert import convert  # noqa: E402
from analyzer.importing.output_layer import identity_rows, label_rows, with_output  # noqa: E402

IDS = [5, 17, 200, 3, 99, 250, 42, 8, 8, 311, 60]


@pytest.fixture(params=[False, True], ids=["separate output", "tied embeddings"])
def model(request: pytest.FixtureRequest) -> RandomCheckpoint:
    """A random checkpoint, with and without an output layer of its own."""
    return RandomCheckpoint(tiny_shape(tied_embeddings=request.param), byte_level_source())


@pytest.fixture
def base(model: RandomCheckpoint, tmp_path: Path) -> Path:
    """The checkpoint converted to int8 with its whole language-model head."""
    folder = tmp_path / "base"
    folder.mkdir()
    convert(model, folder)
    return folder


def forward(folder: Path) -> np.ndarray:
    """Runs one pass of a model: [positions, columns]."""
    return np.array(ctranslate2.Generator(str(folder), intra_threads=1).forward_batch([IDS]))[0]


def derived(base: Path, name: str, rows: np.ndarray, **options: object) -> tuple[np.ndarray, int]:
    """Returns what one pass of `base` with other output rows gives, and in how many parts."""
    folder = base.parent / name
    folder.mkdir()
    output = with_output(base, folder, rows, **options)  # type: ignore[arg-type]
    return forward(folder), output.parts


def test_learned_rows_score_the_identity_features_exactly(base: Path) -> None:
    """Scores of float32 rows are their dot products with the features a head is trained on, to 4 digits."""
    rows = np.random.default_rng(3).normal(size=(5, 64)).astype(np.float32)
    features, feature_parts = derived(base, "features", identity_rows(64), kind="identity")
    columns, parts = derived(base, "head", rows)
    assert (feature_parts, parts) == (1, 2)
    expected = features @ rows.T
    error = np.abs(columns[:, :5] + columns[:, 5:] - expected).max()
    assert error < 1e-3
    assert error < np.abs(columns[:, :5] - expected).max() / 20


def test_label_rows_give_the_logits_of_the_whole_vocabulary(base: Path) -> None:
    """A label judge's few rows give the very numbers the whole head gives."""
    tokens = [4, 310, 77]
    logits = forward(base)
    columns, parts = derived(base, "labels", label_rows(base, tokens), kind="tokens", token_ids=tokens)
    assert parts == 1
    np.testing.assert_allclose(columns, logits[:, tokens], atol=1e-5)


def test_fewer_layers_can_be_kept_later(model: RandomCheckpoint, base: Path) -> None:
    """Cutting a converted model equals converting with fewer layers."""
    features, _ = derived(base, "two", identity_rows(64), layers=2)
    reference = numpy_llama.hidden_states(model, IDS, layers=2)
    cosine = (features * reference).sum(-1) / np.linalg.norm(features, axis=-1) / np.linalg.norm(reference, axis=-1)
    assert cosine.min() >= 0.99


def test_a_float32_model_keeps_float32_rows(model: RandomCheckpoint, tmp_path: Path) -> None:
    """Nothing is rounded where the body is not."""
    folder = tmp_path / "float"
    folder.mkdir()
    convert(model, folder, quantization="float32")
    rows = np.random.default_rng(3).normal(size=(2, 64)).astype(np.float32)
    columns, parts = derived(folder, "head", rows)
    assert parts == 1
    np.testing.assert_allclose(columns, numpy_llama.hidden_states(model, IDS) @ rows.T, atol=1e-3)


def test_a_derived_model_can_be_derived_from(base: Path) -> None:
    """An output layer is replaced again and again without loss to the body."""
    first, _ = derived(base, "first", identity_rows(64))
    rows = np.ones((1, 64), dtype=np.float32)
    derived(base, "head", rows)
    folder = base.parent / "second"
    folder.mkdir()
    with_output(base.parent / "head", folder, identity_rows(64))
    np.testing.assert_array_equal(forward(folder), first)


@pytest.mark.parametrize("rows", [np.ones((2, 63)), np.ones((0, 64)), np.ones(64), np.full((1, 64), np.inf)])
def test_rows_that_do_not_fit_are_refused(rows: np.ndarray, base: Path, tmp_path: Path) -> None:
    """The message gives the shape wanted."""
    with pytest.raises(ImportFailedError, match=r"\[k, 64\]"):
        with_output(base, tmp_path, rows.astype(np.float32))


@pytest.mark.parametrize("tokens", [[], [320], [-1]])
def test_label_tokens_outside_the_vocabulary_are_refused(tokens: list[int], base: Path) -> None:
    """Ids are checked before rows are taken."""
    with pytest.raises(ImportFailedError, match="between 0 and 319"):
        label_rows(base, tokens)


def test_labels_of_a_head_revision_send_you_to_its_base(base: Path) -> None:
    """A model whose head was replaced no longer has the rows of its vocabulary."""
    derived(base, "head", np.ones((3, 64), dtype=np.float32))
    with pytest.raises(ImportFailedError, match="derived from"):
        label_rows(base.parent / "head", [1])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.8, 0.9999])
def test_a_truncated_model_is_named_as_such(share: float, base: Path, tmp_path: Path) -> None:
    """Cut anywhere, model.bin gives a typed error."""
    content = (base / "model.bin").read_bytes()
    (base / "model.bin").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelBinError):
        with_output(base, tmp_path, identity_rows(64))


def test_another_binary_version_is_refused(base: Path, tmp_path: Path) -> None:
    """A file of a later layout is not guessed at."""
    content = (base / "model.bin").read_bytes()
    (base / "model.bin").write_bytes(b"\x07\0\0\0" + content[4:])
    with pytest.raises(ModelBinError, match="version 7"):
        with_output(base, tmp_path, identity_rows(64))
