"""Manifests and tiny fake revisions for tests that need no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analyzer.adapters.modelstore import ModelStore, Revision, file_records
from analyzer.manifest import Architecture, BaseWeights, Manifest, OutputLayer


def make_manifest(**changes: Any) -> Manifest:
    """Returns a valid manifest, with some fields changed."""
    fields: dict[str, Any] = {
        "revision": "tiny-1",
        "base": BaseWeights(name="tests/Tiny", licence="CC0-1.0", source="test"),
        "architecture": Architecture(
            layers_kept=15,
            layers_total=30,
            width=64,
            heads=4,
            kv_heads=2,
            head_width=16,
            ffn_width=96,
            vocabulary=320,
            rope_theta=10000.0,
            rms_epsilon=1e-5,
        ),
        "quantization": "int8",
        "ctranslate2_version": "4.8.5",
        "tokenizer": "tokenizers",
        "output": OutputLayer(kind="rows", rows=3, parts=2),
        "judge": "head",
        "files": {},
    }
    return Manifest(**(fields | changes))


def add_fake_revision(store: ModelStore, name: str, **changes: Any) -> Revision:
    """Stores a revision of two small files that no engine could load."""
    with store.staging() as folder:
        write_fake_files(folder)
        return store.add(folder, make_manifest(revision=name, files=file_records(folder), **changes))


def write_fake_files(folder: Path) -> None:
    """Writes what stands for a model and a tokenizer."""
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
