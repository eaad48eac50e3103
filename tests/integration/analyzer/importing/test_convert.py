"""Converted models compute what the checkpoint says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analyzer.adapters import runtime
from analyzer.importing.checkpoint import (
    CheckpointDamagedError,
    ImportFailedError,
    LlamaCheckpoint,
    LlamaShape,
    RopeScaling,
)
from tests.support import numpy_llama
from tests.support.llama_checkpoints import (
    RandomCheckpoint,
    byte_level_source,
    tiny_shape,
)

runtime.prepare()

import ctranslate2  # noqa: E402 - only after the runtime is prepared

from analyzer.importing.convert import convert  # noqa: E402
from analyzer.importing.output_layer import identity_rows, with_output  # noqa: E402

IDS = [5, 17, 200, 3, 99, 250, 42, 8, 8, 311, 60]

SHAPES = {
    "grouped-query, separate output": tiny_shape(),
    "grouped-query, tied embeddings": tiny_shape(tied_embeddings=True),
    "one head a key-value head": tiny_shape(kv_heads=4),
    "multi-query": tiny_shape(kv_heads=1),
    "heads wider than the model": tiny_shape(head_width=32),
    "another rope base and epsilon": tiny_shape(rope_theta=500000.0, rms_epsilon=1e-3),
    "linear rope scaling": tiny_shape(rope_scaling=RopeScaling("linear", 4.0)),
    "llama3 rope scaling": tiny_shape(rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 16)),
}


def checkpoint(shape: LlamaShape) -> RandomCheckpoint:
    """Returns random weights of a shape with the byte-level tokenizer."""
    return RandomCheckpoint(shape, byte_level_source())


def forward(folder: Path) -> np.ndarray:
    """Runs one pass of a converted model: [positions, columns]."""
    return np.array(ctranslate2.Generator(str(folder), intra_threads=1).forward_batch([IDS]))[0]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_float32_logits_agree_with_the_numpy_reference(shape: LlamaShape, tmp_path: Path) -> None:
    """Every supported shape, in float32, within 1e-3."""
    model = checkpoint(shape)
    convert(model, tmp_path, quantization="float32")
    np.testing.assert_allclose(forward(tmp_path), numpy_llama.logits(model, IDS), atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_int8_hidden_states_point_the_same_way_as_the_reference(shape: LlamaShape, tmp_path: Path) -> None:
    """Cosine of the last hidden state of each position at least 0.99."""
    model = checkpoint(shape)
    base, features = tmp_path / "base", tmp_path / "features"
    base.mkdir()
    features.mkdir()
    convert(model, base)
    with_output(base, features, identity_rows(shape.width), kind="identity")
    assert cosines(forward(features), numpy_llama.hidden_states(model, IDS)).min() >= 0.99


def test_early_exit_is_the_reference_after_as_many_layers(tmp_path: Path) -> None:
    """Keeping two of three layers gives the two-layer model."""
    model = checkpoint(tiny_shape())
    converted = convert(model, tmp_path, layers=2, quantization="float32")
    np.testing.assert_allclose(forward(tmp_path), numpy_llama.logits(model, IDS, layers=2), atol=1e-3)
    assert (converted.architecture.layers_kept, converted.architecture.layers_total) == (2, 3)


def test_int8_weights_are_the_ones_the_official_optimizer_makes(tmp_path: Path) -> None:
    """Quantising tensor by tensor gives byte for byte the file that spec.optimize("int8") gives."""
    model = checkpoint(tiny_shape(tied_embeddings=True))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    convert(model, ours)
    optimize_officially(model, theirs)
    assert (ours / "model.bin").read_bytes() == (theirs / "model.bin").read_bytes()


@pytest.mark.parametrize("layers", [0, 4, -1])
def test_impossible_numbers_of_layers_are_refused(layers: int, tmp_path: Path) -> None:
    """The error names the number the model has."""
    with pytest.raises(ImportFailedError, match="the model has 3"):
        convert(checkpoint(tiny_shape()), tmp_path, layers=layers)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    """A single NaN stops the import and is named."""
    model = checkpoint(tiny_shape())
    model.arrays["model.layers.1.mlp.up_proj.weight"][3, 3] = np.nan
    with pytest.raises(CheckpointDamagedError, match=r"layers\.1\.mlp\.up_proj"):
        convert(model, tmp_path)


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    """Each tensor is reported once."""
    heard: list[tuple[int, int]] = []
    convert(checkpoint(tiny_shape()), tmp_path, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(index, 30) for index in range(1, 31)]


@pytest.mark.peers
def test_the_official_transformers_converter_agrees(tmp_path: Path) -> None:
    """CTranslate2's own TransformersConverter, where torch and transformers are installed, gives the same logits."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.support.llama_checkpoints import write_huggingface  # noqa: PLC0415

    model = checkpoint(tiny_shape())
    folder = write_huggingface(tmp_path / "checkpoint", model)
    converter = ctranslate2.converters.TransformersConverter(str(folder))
    converter.convert(str(tmp_path / "official"))
    _name_missing_tokens(tmp_path / "official" / "config.json")
    ours = tmp_path / "ours"
    ours.mkdir()
    convert(model, ours, quantization="float32")
    np.testing.assert_allclose(forward(ours), forward(tmp_path / "official"), atol=1e-4)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns the cosine of each pair of rows."""
    return (left * right).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)


def optimize_officially(model: LlamaCheckpoint, folder: Path) -> None:
    """Writes the int8 model through float32 and CTranslate2's own optimize()."""
    from analyzer.importing import convert as converting  # noqa: PLC0415 - its private parts build the same spec

    spec = converting._empty_spec(model.shape, model.shape.layers)
    converting._Filling(model, spec.decoder, "float32", lambda _done, _total: None).fill(model.shape.layers)
    spec.register_vocabulary(converting.ct2_vocabulary(model.tokenizer, model.shape.vocabulary))
    spec.validate()
    spec.optimize("int8")
    spec.save(str(folder))


def _name_missing_tokens(config: Path) -> None:
    """Gives special tokens that the tokenizer lacks a name: the engine refuses null, and scores don't care."""
    settings = json.loads(config.read_text())
    named = {name: "<unk>" if name.endswith("_token") and value is None else value for name, value in settings.items()}
    config.write_text(json.dumps(named))
