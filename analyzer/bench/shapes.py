"""Models to measure: a stored revision cut to a depth, or a published shape filled with random weights."""

from pathlib import Path

import numpy as np

from analyzer.importing.checkpoint import Float32Array, LlamaShape, TokenizerSource, tensor_shapes
from analyzer.importing.convert import convert
from analyzer.importing.output_layer import with_output
from analyzer.importing.progress import Progress, silent
from analyzer.manifest import BaseWeights

TINYLLAMA = LlamaShape(
    layers=22,
    width=2048,
    heads=32,
    kv_heads=4,
    head_width=64,
    ffn_width=5632,
    vocabulary=32000,
    rope_theta=10000.0,
    rms_epsilon=1e-5,
    tied_embeddings=False,
)
HEAD_ROWS = 16
_WEIGHT_SCALE = 0.02


class RandomCheckpoint:
    """A checkpoint of a given shape whose weights are noise: right to time, useless to ask."""

    def __init__(self, name: str, shape: LlamaShape, seed: int = 0) -> None:
        self.shape = shape
        self.base = BaseWeights(name=f"{name} (random weights)", licence="none", source="made by analyzer bench")
        tokens = tuple(f"<{index}>" for index in range(shape.vocabulary))
        self.tokenizer = TokenizerSource(kind="sentencepiece", content=b"", tokens=tokens, unk_token_id=0)
        self._noise = np.random.default_rng(seed)
        self._dimensions = tensor_shapes(shape)

    def array(self, name: str) -> Float32Array:
        """Noise of standard deviation 0.02 for a matrix, ones for a norm."""
        dimensions = self._dimensions[name]
        if len(dimensions) == 1:
            return np.ones(dimensions, dtype=np.float32)
        return self._noise.standard_normal(dimensions, dtype=np.float32) * np.float32(_WEIGHT_SCALE)


def write_random_model(folder: Path, name: str, shape: LlamaShape, progress: Progress = silent) -> Path:
    """Converts a random checkpoint to int8 into `folder`, once: what is there is kept."""
    if not (folder / "model.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        convert(RandomCheckpoint(name, shape), folder, progress=progress)
    return folder


def write_depth(source: Path, folder: Path, layers: int, width: int) -> Path:
    """Writes the first `layers` layers of `source` with a head of 16 random rows, as a served revision has."""
    folder.mkdir(parents=True, exist_ok=True)
    with_output(source, folder, head_rows(layers, width), layers=layers)
    return folder


def head_rows(layers: int, width: int) -> Float32Array:
    """The 16 random output rows [16, width] that every engine gets at this depth."""
    return np.random.default_rng(layers).standard_normal((HEAD_ROWS, width), dtype=np.float32)
