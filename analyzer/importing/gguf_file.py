"""A Llama checkpoint in one GGUF file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from analyzer.files import sha256_of
from analyzer.importing.checkpoint import (
    EMBEDDINGS,
    FINAL_NORM,
    OUTPUT,
    CheckpointDamagedError,
    Float32Array,
    LlamaShape,
    RopeScaling,
    TokenizerSource,
    UnsupportedArchitectureError,
    number,
)
from analyzer.importing.gguf_header import check_gguf_header
from analyzer.importing.gguf_tokenizer import tokenizer_from_gguf
from analyzer.manifest import BaseWeights

_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP_NAMES = {
    EMBEDDINGS: "token_embd.weight",
    FINAL_NORM: "output_norm.weight",
    OUTPUT: "output.weight",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")
# What the gguf package raises on files whose counts fit but whose content does not.
_READ_ERRORS = (ValueError, IndexError, KeyError, OverflowError, TypeError)


class GgufCheckpoint:
    """Reads a GGUF file lazily: a tensor is dequantised to float32 when it is asked for."""

    def __init__(self, path: Path, *, base: BaseWeights | None = None) -> None:
        """Opens the file; raises CheckpointDamagedError or UnsupportedArchitectureError."""
        check_gguf_header(path)
        try:
            reader = gguf.GGUFReader(path)
            self._metadata: Mapping[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        except _READ_ERRORS as error:
            raise CheckpointDamagedError(f"{path.name} is truncated or damaged ({error}); fetch it again") from error
        self._path = path
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._base = base
        self._refuse_what_is_not_plain_llama()

    def __repr__(self) -> str:
        return f"<GgufCheckpoint {self._path.name}: {len(self._tensors)} tensors>"

    @cached_property
    def shape(self) -> LlamaShape:
        """The sizes the metadata gives."""
        heads, width = (
            self._integer("attention.head_count"),
            self._integer("embedding_length"),
        )
        head_width = self._integer("attention.key_length", width // max(heads, 1))
        return LlamaShape(
            layers=self._integer("block_count"),
            width=width,
            heads=heads,
            kv_heads=self._integer("attention.head_count_kv", heads),
            head_width=head_width,
            ffn_width=self._integer("feed_forward_length"),
            vocabulary=len(self.tokenizer.tokens),
            rope_theta=number(self._metadata.get("llama.rope.freq_base", 10000.0), "llama.rope.freq_base"),
            rms_epsilon=number(self._required("attention.layer_norm_rms_epsilon"), "the RMS epsilon"),
            tied_embeddings="output.weight" not in self._tensors,
            rope_scaling=self._rope_scaling(),
        )

    @cached_property
    def base(self) -> BaseWeights:
        """The model's name and licence, as the file states them unless the caller knew better."""
        if self._base is not None:
            return self._base
        name = str(self._metadata.get("general.name") or self._path.stem)
        licence = str(self._metadata.get("general.license") or "unknown")
        digest = sha256_of(self._path)
        return BaseWeights(name=name, licence=licence, source=f"gguf:{self._path.name}", sha256=digest)

    @cached_property
    def tokenizer(self) -> TokenizerSource:
        """The tokenizer rebuilt from the metadata."""
        return tokenizer_from_gguf(self._metadata)

    def array(self, name: str) -> Float32Array:
        """Returns a tensor under its Hugging Face name, query and key rows in half-split rotary order."""
        gguf_name = _gguf_name(name)
        tensor = self._tensors.get(gguf_name)
        if tensor is None:
            raise CheckpointDamagedError(f"{self._path.name} lacks the tensor {gguf_name}")
        try:
            dequantized = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, *_READ_ERRORS) as error:
            kind = tensor.tensor_type.name
            raise CheckpointDamagedError(f"tensor {gguf_name} of type {kind} can't be read: {error}") from error
        values = np.array(dequantized, dtype=np.float32)
        if name.endswith("q_proj.weight"):
            return _half_split(values, self.shape.heads)
        if name.endswith("k_proj.weight"):
            return _half_split(values, self.shape.kv_heads)
        return values

    def _refuse_what_is_not_plain_llama(self) -> None:
        architecture = self._metadata.get("general.architecture")
        if architecture != "llama":
            raise UnsupportedArchitectureError(
                f"{self._path.name} holds a {architecture!r} model; only plain Llama models can be imported"
            )
        if self._metadata.get("llama.expert_count"):
            raise UnsupportedArchitectureError(f"{self._path.name} is a mixture of experts, not a plain Llama model")
        if "rope_freqs.weight" in self._tensors:
            raise UnsupportedArchitectureError(
                f"{self._path.name} folds its rope scaling into a tensor; import the safetensors folder instead"
            )
        biased = next((name for name in self._tensors if name.endswith(".bias")), None)
        if biased:
            raise UnsupportedArchitectureError(f"{self._path.name} has a bias ({biased}); plain Llama models have none")

    def _rope_scaling(self) -> RopeScaling | None:
        kind = self._metadata.get("llama.rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind != "linear":
            raise UnsupportedArchitectureError(f"rope scaling {kind!r} in a GGUF file is not supported")
        return RopeScaling("linear", number(self._required("rope.scaling.factor"), "llama.rope.scaling.factor"))

    def _required(self, key: str) -> Any:
        try:
            return self._metadata[f"llama.{key}"]
        except KeyError:
            raise CheckpointDamagedError(f"{self._path.name} lacks the metadata llama.{key}") from None

    def _integer(self, key: str, default: int | None = None) -> int:
        value = self._metadata.get(f"llama.{key}", default) if default is not None else self._required(key)
        if not isinstance(value, int):
            raise UnsupportedArchitectureError(f"llama.{key} is {value!r}, a plain Llama model has one number there")
        return value


def _gguf_name(name: str) -> str:
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    match = _LAYER.fullmatch(name)
    if match is None:
        raise KeyError(name)
    return f"blk.{match[1]}.{_LAYER_NAMES[match[2]]}.weight"


def _half_split(rows: Float32Array, heads: int) -> Float32Array:
    """Undoes GGUF's interleaving: within a head, row 2i is rotary dimension i and row 2i+1 is i + head_width/2."""
    outputs, inputs = rows.shape
    if outputs % (2 * heads):
        raise CheckpointDamagedError(f"{outputs} rows can't be shared by {heads} heads")
    pairs = rows.reshape(heads, outputs // heads // 2, 2, inputs)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(outputs, inputs)
