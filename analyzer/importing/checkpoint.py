"""A Llama checkpoint, whatever file format it came in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.manifest import BaseWeights, TokenizerKind

Float32Array: TypeAlias = npt.NDArray[np.float32]

EMBEDDINGS = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
OUTPUT = "lm_head.weight"
_LARGEST_SIZE = 2**24


class ImportFailedError(Exception):
    """A model that can't be imported; the message says why and what to do instead."""


class CheckpointDamagedError(ImportFailedError):
    """A file of the checkpoint is truncated, contradicts itself or lacks a tensor."""


class UnsupportedArchitectureError(ImportFailedError):
    """The checkpoint is sound, but not a plain Llama model."""


@dataclass(frozen=True)
class RopeScaling:
    """Stretching of the rotary positions: `factor` times the trained length.

    "linear" divides every frequency by it; "llama3" only the slow ones, those that turn fewer than
    `low_freq_factor` times in `original_positions`, with a blend up to `high_freq_factor` turns.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192


@dataclass(frozen=True)
class LlamaShape:
    """Sizes of a Llama model. Attention is grouped when `kv_heads` is less than `heads`."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn_width: int
    vocabulary: int
    rope_theta: float
    rms_epsilon: float
    tied_embeddings: bool
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        sizes = (
            self.layers,
            self.width,
            self.heads,
            self.kv_heads,
            self.head_width,
            self.ffn_width,
            self.vocabulary,
        )
        if not all(type(size) is int and 1 <= size <= _LARGEST_SIZE for size in sizes):
            raise CheckpointDamagedError(f"impossible sizes in the checkpoint's configuration: {self}")
        if self.heads % self.kv_heads or self.head_width % 2:
            raise UnsupportedArchitectureError(
                f"{self.heads} heads over {self.kv_heads} key-value heads of width {self.head_width} "
                "is not a Llama attention layout"
            )
        if not all(math.isfinite(number) and number > 0 for number in (self.rope_theta, self.rms_epsilon)):
            raise CheckpointDamagedError("rope theta and RMS epsilon must be positive numbers")


def number(value: object, name: str) -> float:
    """Returns a configuration value as a float; raises CheckpointDamagedError when it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise CheckpointDamagedError(f"{name} is {value!r}, which is not a number")


@dataclass(frozen=True)
class TokenizerSource:
    """The tokenizer of a checkpoint: one file's `content`, and all tokens in id order.

    `special_tokens` are control tokens by name; none of them is ever produced from a caller's text.
    """

    kind: TokenizerKind
    content: bytes
    tokens: tuple[str, ...]
    special_tokens: Mapping[str, int] = field(default_factory=dict)
    bos_token_id: int | None = None
    add_bos: bool = False
    eos_token_id: int | None = None
    unk_token_id: int | None = None
    chat_template: str | None = None

    @property
    def file_name(self) -> str:
        """The name this file has in a revision's folder."""
        return "tokenizer.json" if self.kind == "tokenizers" else "tokenizer.model"


class LlamaCheckpoint(Protocol):
    """Shape, tokenizer and, one at a time, the float32 tensors under their Hugging Face names."""

    @property
    def shape(self) -> LlamaShape:
        """The model's sizes."""
        ...

    @property
    def base(self) -> BaseWeights:
        """Name, licence and origin of the weights."""
        ...

    @property
    def tokenizer(self) -> TokenizerSource:
        """The tokenizer that belongs to the weights."""
        ...

    def array(self, name: str) -> Float32Array:
        """Returns one tensor in float32; raises CheckpointDamagedError when it is missing or unreadable."""
        ...


def tensor_shapes(shape: LlamaShape) -> dict[str, tuple[int, ...]]:
    """Returns every tensor a plain Llama model of this shape has, with its dimensions (rows are outputs)."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    layer = {
        "input_layernorm.weight": (shape.width,),
        "self_attn.q_proj.weight": (queries, shape.width),
        "self_attn.k_proj.weight": (keys, shape.width),
        "self_attn.v_proj.weight": (keys, shape.width),
        "self_attn.o_proj.weight": (shape.width, queries),
        "post_attention_layernorm.weight": (shape.width,),
        "mlp.gate_proj.weight": (shape.ffn_width, shape.width),
        "mlp.up_proj.weight": (shape.ffn_width, shape.width),
        "mlp.down_proj.weight": (shape.width, shape.ffn_width),
    }
    shapes: dict[str, tuple[int, ...]] = {
        EMBEDDINGS: (shape.vocabulary, shape.width),
        FINAL_NORM: (shape.width,),
    }
    for index in range(shape.layers):
        shapes |= {f"model.layers.{index}.{name}": dimensions for name, dimensions in layer.items()}
    if not shape.tied_embeddings:
        shapes[OUTPUT] = (shape.vocabulary, shape.width)
    return shapes


def checked_array(checkpoint: LlamaCheckpoint, name: str, dimensions: tuple[int, ...]) -> Float32Array:
    """Returns a tensor after checking its dimensions and that every number in it is finite."""
    values = checkpoint.array(name)
    if values.shape != dimensions:
        raise CheckpointDamagedError(f"tensor {name} has shape {values.shape}, the configuration says {dimensions}")
    if not np.isfinite(values).all():
        raise CheckpointDamagedError(f"tensor {name} holds values that are not finite numbers; fetch the file again")
    return values
