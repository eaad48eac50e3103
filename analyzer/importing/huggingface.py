"""A Llama checkpoint in a Hugging Face folder: config.json, safetensors, and a tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from analyzer.files import sha256_of
from analyzer.importing.checkpoint import (
    OUTPUT,
    CheckpointDamagedError,
    Float32Array,
    ImportFailedError,
    LlamaShape,
    RopeScaling,
    TokenizerSource,
    UnsupportedArchitectureError,
    number,
)
from analyzer.importing.huggingface_tokenizer import tokenizer_from_folder
from analyzer.importing.safetensors_file import SafetensorsFile
from analyzer.manifest import BaseWeights, is_plain_name

_MAX_JSON_BYTES = 64 * 2**20
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class HuggingFaceCheckpoint:
    """Reads a folder lazily: a tensor is read and widened to float32 when it is asked for."""

    def __init__(self, folder: Path, *, base: BaseWeights | None = None) -> None:
        """Opens the folder; raises CheckpointDamagedError or UnsupportedArchitectureError."""
        self._folder = folder
        self._config = read_json(folder / "config.json")
        _refuse_what_is_not_plain_llama(self._config)
        self._base = base
        self._file_of = _tensor_files(folder)

    def __repr__(self) -> str:
        return f"<HuggingFaceCheckpoint {self._folder.name}: {len(self._file_of)} tensors>"

    @cached_property
    def shape(self) -> LlamaShape:
        """The sizes config.json gives."""
        heads, width = self._integer("num_attention_heads"), self._integer("hidden_size")
        head_width = self._integer("head_dim", width // max(heads, 1))
        return LlamaShape(
            layers=self._integer("num_hidden_layers"),
            width=width,
            heads=heads,
            kv_heads=self._integer("num_key_value_heads", heads),
            head_width=head_width,
            ffn_width=self._integer("intermediate_size"),
            vocabulary=self._integer("vocab_size"),
            rope_theta=_rope_theta(self._config),
            rms_epsilon=number(self._config.get("rms_norm_eps", 1e-6), "rms_norm_eps"),
            tied_embeddings=bool(self._config.get("tie_word_embeddings", False)) or OUTPUT not in self._file_of,
            rope_scaling=_rope_scaling(self._config),
        )

    @cached_property
    def base(self) -> BaseWeights:
        """The model's name and licence, as far as the folder tells, and the sha256 of its weights."""
        if self._base is not None:
            return self._base.model_copy(update={"sha256": self._weights_sha256()})
        name = str(self._config.get("_name_or_path") or self._folder.resolve().name)
        licence = licence_of_readme(self._folder / "README.md")
        return BaseWeights(
            name=name.strip("./") or "model",
            licence=licence,
            source=f"folder:{self._folder.resolve().name}",
            sha256=self._weights_sha256(),
        )

    @cached_property
    def tokenizer(self) -> TokenizerSource:
        """The folder's tokenizer: tokenizer.model when there is one, else tokenizer.json."""
        return tokenizer_from_folder(self._folder, self._config)

    def array(self, name: str) -> Float32Array:
        """Returns a tensor in float32."""
        if name not in self._file_of:
            raise CheckpointDamagedError(f"{self._folder.name} lacks the tensor {name}; fetch the model again")
        return self._file_of[name].array(name)

    def _weights_sha256(self) -> str:
        """Returns the checksum of the one weights file, or of the checksums of all, in the order of their names."""
        files = sorted({str(file.path): file.path for file in self._file_of.values()}.items())
        digests = [sha256_of(path) for _, path in files]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def _integer(self, key: str, default: int | None = None) -> int:
        value = self._config.get(key)
        if value is None:
            value = default
        if not isinstance(value, int):
            raise CheckpointDamagedError(f"config.json gives no number for {key}")
        return value


def read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON object; raises CheckpointDamagedError when the file is missing, too large or not one."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointDamagedError(f"{path.name} is larger than {_MAX_JSON_BYTES} bytes")
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointDamagedError(f"{path.parent} holds no {path.name}; name a Hugging Face model folder") from error
    except (OSError, ValueError) as error:
        raise CheckpointDamagedError(f"{path.name} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointDamagedError(f"{path.name} does not hold a JSON object")
    return document


def licence_of_readme(path: Path) -> str:
    """Returns the `license:` line of a model card, or "unknown"."""
    if not path.is_file():
        return "unknown"
    with path.open(errors="replace") as file:
        for line, _ in zip(file, range(100), strict=False):
            if line.startswith("license:"):
                return line.removeprefix("license:").strip() or "unknown"
    return "unknown"


def _tensor_files(folder: Path) -> Mapping[str, SafetensorsFile]:
    if (folder / _INDEX).is_file():
        placed = read_json(folder / _INDEX).get("weight_map")
        if not isinstance(placed, dict) or not all(
            isinstance(name, str) and is_plain_name(name) for name in placed.values()
        ):
            raise CheckpointDamagedError(f"{_INDEX} does not name plain files of its own folder")
        files = {name: SafetensorsFile(folder / name) for name in sorted(set(placed.values()))}
        return {tensor: files[name] for tensor, name in placed.items()}
    if (folder / _SINGLE).is_file():
        only = SafetensorsFile(folder / _SINGLE)
        return dict.fromkeys(only.names(), only)
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        raise ImportFailedError(
            f"{folder.name} holds pickled weights, which can run code; fetch its safetensors instead"
        )
    raise CheckpointDamagedError(f"{folder.name} holds neither {_SINGLE} nor {_INDEX}")


def _refuse_what_is_not_plain_llama(config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    reasons = {
        f"it is a {kind!r} model": kind != "llama",
        "its activation is not SiLU": config.get("hidden_act", "silu") not in ("silu", "swish"),
        "its layers have biases": bool(config.get("attention_bias") or config.get("mlp_bias")),
        "its weights are quantised": bool(config.get("quantization_config")),
        "it uses a sliding window": bool(config.get("sliding_window")),
    }
    found = [reason for reason, applies in reasons.items() if applies]
    if found:
        raise UnsupportedArchitectureError(f"only plain Llama models can be imported: {', '.join(found)}")


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise CheckpointDamagedError(f"config.json describes its rotary positions as {rope!r}")
    return rope


def _rope_theta(config: Mapping[str, Any]) -> float:
    return number(_rope(config).get("rope_theta") or config.get("rope_theta") or 10000.0, "rope_theta")


def _rope_scaling(config: Mapping[str, Any]) -> RopeScaling | None:
    rope = _rope(config)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    try:
        if kind == "linear":
            return RopeScaling("linear", float(rope["factor"]))
        if kind == "llama3":
            return RopeScaling(
                "llama3",
                float(rope["factor"]),
                float(rope["low_freq_factor"]),
                float(rope["high_freq_factor"]),
                int(rope["original_max_position_embeddings"]),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointDamagedError(f"config.json describes its {kind} rope scaling incompletely: {error}") from error
    raise UnsupportedArchitectureError(f"rope scaling {kind!r} is not supported; 'linear' and 'llama3' are")
