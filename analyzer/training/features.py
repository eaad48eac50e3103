"""Features: the mean over positions of the last hidden state, exactly as the serving engine computes it.

An identity matrix as output layer makes a pass return the hidden states, int8 rounding included, so a head trained on
them meets the same numbers when it serves. What was computed once is kept on disk: a training that was stopped goes on.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from analyzer.adapters.modelstore import Revision
from analyzer.framing import FramedMessage, FrameParameters
from analyzer.importing.output_layer import identity_rows, with_output
from analyzer.training.engine import Matrix, PooledEngine

Progress = Callable[[int, int], None]

_SHARD_PROMPTS = 256
_FRAMING = 2  # goes up when the same parameters cut the same prompt differently


class FeatureCache:
    """Vectors by key in a folder of small files, each written in one step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vectors: dict[str, Matrix] = {}
        for shard in sorted(folder.glob("*.npz")):
            with np.load(shard) as content:
                self._vectors.update(zip(content["keys"].tolist(), content["vectors"], strict=True))

    def __repr__(self) -> str:
        return f"<FeatureCache {self._folder}: {len(self._vectors)} prompts>"

    def __contains__(self, key: str) -> bool:
        return key in self._vectors

    def __getitem__(self, key: str) -> Matrix:
        return self._vectors[key]

    def add(self, keys: Sequence[str], vectors: Matrix) -> None:
        """Keeps vectors [n, width], in memory and on disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:20]
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
            np.savez(file, keys=np.array(keys), vectors=vectors)
        Path(file.name).replace(self._folder / f"{name}.npz")
        self._vectors.update(zip(keys, vectors, strict=True))


@contextmanager
def hidden_state_engine(base: Revision, layers: int | None, *, threads: int = 2) -> Iterator[PooledEngine]:
    """Yields an engine whose rows are the hidden states of the base revision's first `layers` layers."""
    with tempfile.TemporaryDirectory() as folder:
        rows = identity_rows(base.manifest.architecture.width)
        output = with_output(base.path, Path(folder), rows, kind="identity", layers=layers)
        yield PooledEngine(Path(folder), base.manifest, output, threads=threads)


def extract_features(
    prompts: Sequence[Sequence[FramedMessage]],
    engine: PooledEngine,
    parameters: FrameParameters,
    cache: FeatureCache,
    progress: Progress,
) -> Matrix:
    """Returns [prompts, width]. `progress` hears prompts done and in all."""
    keys = [prompt_key(prompt) for prompt in prompts]
    missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in cache}
    pending = list(missing)
    for start in range(0, len(pending), _SHARD_PROMPTS):
        progress(len(keys) - len(pending) + start, len(keys))
        shard = pending[start : start + _SHARD_PROMPTS]
        frames = [engine.frame(missing[key], parameters).token_ids for key in shard]
        cache.add(shard, engine.pooled(frames))
    progress(len(keys), len(keys))
    return np.stack([cache[key] for key in keys])


def cache_name(base: Revision, layers: int | None, parameters: FrameParameters, instruction_set: str) -> str:
    """Returns a folder name that changes with everything the features depend on."""
    facts = {
        "files": {name: record.sha256 for name, record in base.manifest.files.items()},
        "layers": layers,
        "frame": [asdict(parameters), _FRAMING],
        "instruction_set": instruction_set,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return f"{base.name}-{digest}"


def prompt_key(messages: Sequence[FramedMessage]) -> str:
    """Returns a key for a conversation: two prompts share it only when they are the same."""
    text = json.dumps([[message.role, message.content] for message in messages])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
