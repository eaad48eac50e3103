"""A plain float32 Llama in numpy, written from the papers, to compare conversions with.

RMSNorm (arXiv 1910.07467), rotary positions in the half-split layout (2104.09864), grouped queries (2305.13245),
SwiGLU (2002.05202), Llama 3's stretching of slow frequencies (2407.21783 and its published configuration).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analyzer.importing.checkpoint import EMBEDDINGS, FINAL_NORM, OUTPUT, LlamaCheckpoint, LlamaShape, RopeScaling

Array = npt.NDArray[np.float32]


def hidden_states(checkpoint: LlamaCheckpoint, ids: list[int], *, layers: int | None = None) -> Array:
    """Returns the normed last hidden states [positions, width] after the first `layers` layers."""
    shape = checkpoint.shape
    states = checkpoint.array(EMBEDDINGS)[ids]
    for index in range(layers or shape.layers):
        prefix = f"model.layers.{index}"
        normed = _norm(states, checkpoint.array(f"{prefix}.input_layernorm.weight"), shape.rms_epsilon)
        states = states + _attention(checkpoint, f"{prefix}.self_attn", normed)
        normed = _norm(states, checkpoint.array(f"{prefix}.post_attention_layernorm.weight"), shape.rms_epsilon)
        states = states + _feed_forward(checkpoint, f"{prefix}.mlp", normed)
    return _norm(states, checkpoint.array(FINAL_NORM), shape.rms_epsilon)


def logits(checkpoint: LlamaCheckpoint, ids: list[int], *, layers: int | None = None) -> Array:
    """Returns the logits [positions, vocabulary]."""
    head = checkpoint.array(EMBEDDINGS if checkpoint.shape.tied_embeddings else OUTPUT)
    return hidden_states(checkpoint, ids, layers=layers) @ head.T


def _norm(states: Array, gamma: Array, epsilon: float) -> Array:
    return states / np.sqrt(np.mean(states**2, axis=-1, keepdims=True) + epsilon) * gamma


def _feed_forward(checkpoint: LlamaCheckpoint, prefix: str, states: Array) -> Array:
    gate = states @ checkpoint.array(f"{prefix}.gate_proj.weight").T
    up = states @ checkpoint.array(f"{prefix}.up_proj.weight").T
    return (gate / (1 + np.exp(-gate)) * up) @ checkpoint.array(f"{prefix}.down_proj.weight").T


def _attention(checkpoint: LlamaCheckpoint, prefix: str, states: Array) -> Array:
    shape, count = checkpoint.shape, len(states)
    queries, keys, values = (
        (states @ checkpoint.array(f"{prefix}.{name}_proj.weight").T).reshape(count, -1, shape.head_width)
        for name in "qkv"
    )
    queries, keys = _rotate(queries, shape), _rotate(keys, shape)
    group = shape.heads // shape.kv_heads
    keys, values = np.repeat(keys, group, axis=1), np.repeat(values, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", queries, keys) / np.sqrt(shape.head_width)
    scores = np.where(np.tril(np.ones((count, count), dtype=bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = np.einsum("hqk,khd->qhd", weights, values).reshape(count, -1)
    return mixed @ checkpoint.array(f"{prefix}.o_proj.weight").T


def _rotate(rows: Array, shape: LlamaShape) -> Array:
    half = shape.head_width // 2
    frequencies = _scaled(shape.rope_theta ** (-np.arange(half) / half), shape.rope_scaling)
    angles = np.outer(np.arange(len(rows)), frequencies)[:, None, :]
    first, second = rows[..., :half], rows[..., half:]
    turned = (first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles))
    return np.concatenate(turned, axis=-1).astype(np.float32)


def _scaled(frequencies: npt.NDArray[np.float64], scaling: RopeScaling | None) -> npt.NDArray[np.float64]:
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    turns = scaling.original_positions * frequencies / (2 * np.pi)
    share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = np.clip(share, 0, 1)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies
