"""Writes a Llama checkpoint as a CTranslate2 model folder, one tensor at a time in memory."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from ctranslate2.specs import attention_spec, common_spec, transformer_spec

from analyzer.importing.checkpoint import (
    EMBEDDINGS,
    FINAL_NORM,
    OUTPUT,
    Float32Array,
    ImportFailedError,
    LlamaCheckpoint,
    LlamaShape,
    RopeScaling,
    TokenizerSource,
    checked_array,
    tensor_shapes,
)
from analyzer.importing.progress import Progress, silent
from analyzer.importing.quantize import quantize_rows
from analyzer.manifest import Architecture, OutputLayer

_SCALING_TYPES = {
    "linear": attention_spec.RotaryScalingType.Linear,
    "llama3": attention_spec.RotaryScalingType.Llama3,
}

Quantization: TypeAlias = Literal["int8", "float32"]


@dataclass(frozen=True)
class ConvertedModel:
    """What was written: the shape kept, its output layer, and the converter that wrote it."""

    architecture: Architecture
    output: OutputLayer
    quantization: Quantization
    ctranslate2_version: str


def convert(
    checkpoint: LlamaCheckpoint,
    folder: Path,
    *,
    layers: int | None = None,
    quantization: Quantization = "int8",
    progress: Progress = silent,
) -> ConvertedModel:
    """Writes model.bin, config.json, vocabulary.json and the tokenizer file into the existing `folder`.

    Keeps the first `layers` layers (all when None), the final norm, and the whole language-model head, so that any
    other output layer can later be made from the folder alone (see `output_layer`). Peak memory is the quantised
    model plus its largest float32 tensor. Raises ImportFailedError; `progress` hears tensors done and in all.
    """
    shape = checkpoint.shape
    kept = shape.layers if layers is None else layers
    if not 1 <= kept <= shape.layers:
        raise ImportFailedError(f"can't keep {kept} layers: the model has {shape.layers}; ask for 1 to {shape.layers}")
    spec = _empty_spec(shape, kept)
    _Filling(checkpoint, spec.decoder, quantization, progress).fill(kept)
    spec.register_vocabulary(ct2_vocabulary(checkpoint.tokenizer, shape.vocabulary))
    _configure(spec.config, checkpoint.tokenizer, shape)
    spec.validate()
    if shape.tied_embeddings:  # an alias, as the official converter leaves it when both are equal
        spec.decoder.projection.weight = "decoder/embeddings/weight"
        spec.decoder.projection.weight_scale = "__optional"
    spec.save(str(folder))
    (folder / checkpoint.tokenizer.file_name).write_bytes(checkpoint.tokenizer.content)
    return ConvertedModel(
        architecture=_architecture(shape, kept),
        output=OutputLayer(kind="vocabulary", rows=shape.vocabulary),
        quantization=quantization,
        ctranslate2_version=version("ctranslate2"),
    )


def ct2_vocabulary(tokenizer: TokenizerSource, size: int) -> list[str]:
    """Returns exactly `size` tokens in id order, padded as CTranslate2's converter pads."""
    tokens = list(tokenizer.tokens[:size])
    return tokens + [f"<extra_id_{index}>" for index in range(size - len(tokens))]


def _empty_spec(shape: LlamaShape, layers: int) -> Any:
    grouped = shape.kv_heads != shape.heads
    odd_heads = shape.head_width * shape.heads != shape.width
    scaling = shape.rope_scaling
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        layers,
        shape.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_scaling_type=_SCALING_TYPES[scaling.kind] if scaling else None,
        rotary_scaling_factor=scaling.factor if scaling else 1,
        rotary_base=shape.rope_theta,
        original_max_position_embeddings=scaling.original_positions if scaling else 0,
        num_heads_kv=shape.kv_heads if grouped else None,
        head_dim=shape.head_width if odd_heads else None,
    )
    if scaling is not None and scaling.kind == "llama3":
        for layer in spec.decoder.layer:
            _scale_like_llama3(layer.self_attention, scaling)
    return spec


def _scale_like_llama3(attention: Any, scaling: RopeScaling) -> None:
    attention.rotary_low_freq_factor = np.float32(scaling.low_freq_factor)
    attention.rotary_high_freq_factor = np.float32(scaling.high_freq_factor)
    # The engine reads the factor, but the specification of 4.8.5 has no place for it, so that models written by the
    # official converter run unscaled; a test compares ours with the formula.
    object.__setattr__(attention, "rotary_scaling_factor", np.float32(scaling.factor))


class _Filling:
    """Moves a checkpoint's tensors into a specification, quantising each as it comes."""

    def __init__(
        self,
        checkpoint: LlamaCheckpoint,
        decoder: Any,
        quantization: Quantization,
        progress: Progress,
    ) -> None:
        self._checkpoint = checkpoint
        self._decoder = decoder
        self._quantization = quantization
        self._progress = progress
        self._shapes = tensor_shapes(checkpoint.shape)
        self._done = 0
        self._total = 0

    def fill(self, layers: int) -> None:
        tied = self._checkpoint.shape.tied_embeddings
        self._total = 9 * layers + 2 + (not tied)
        decoder = self._decoder
        decoder.scale_embeddings = False
        self._weight(decoder.embeddings, self._read(EMBEDDINGS))
        decoder.layer_norm.gamma = self._read(FINAL_NORM)
        if tied:
            decoder.projection.weight = decoder.embeddings.weight
        else:
            self._weight(decoder.projection, self._read(OUTPUT))
        for index in range(layers):
            self._layer(decoder.layer[index], f"model.layers.{index}")

    def _layer(self, layer: Any, prefix: str) -> None:
        attention, ffn = layer.self_attention, layer.ffn
        attention.layer_norm.gamma = self._read(f"{prefix}.input_layernorm.weight")
        projections = [self._read(f"{prefix}.self_attn.{name}_proj.weight") for name in "qkv"]
        self._weight(attention.linear[0], np.concatenate(projections))
        self._weight(attention.linear[1], self._read(f"{prefix}.self_attn.o_proj.weight"))
        ffn.layer_norm.gamma = self._read(f"{prefix}.post_attention_layernorm.weight")
        self._weight(ffn.linear_0, self._read(f"{prefix}.mlp.gate_proj.weight"))
        self._weight(ffn.linear_0_noact, self._read(f"{prefix}.mlp.up_proj.weight"))
        self._weight(ffn.linear_1, self._read(f"{prefix}.mlp.down_proj.weight"))

    def _weight(self, spec: Any, values: Float32Array) -> None:
        # Quantised here rather than by spec.optimize() at the end, which needs the whole model in float32 first.
        if self._quantization == "int8":
            spec.weight, spec.weight_scale = quantize_rows(values)
        else:
            spec.weight = values

    def _read(self, name: str) -> Float32Array:
        values = checked_array(self._checkpoint, name, self._shapes[name])
        self._done += 1
        self._progress(self._done, self._total)
        return values


def _configure(config: Any, tokenizer: TokenizerSource, shape: LlamaShape) -> None:
    tokens = ct2_vocabulary(tokenizer, shape.vocabulary)

    def token(index: int | None) -> str:
        return tokens[index] if index is not None and 0 <= index < len(tokens) else tokens[0]

    config.unk_token = token(tokenizer.unk_token_id)
    config.bos_token = token(tokenizer.bos_token_id)
    config.eos_token = token(tokenizer.eos_token_id)
    config.layer_norm_epsilon = shape.rms_epsilon


def _architecture(shape: LlamaShape, kept: int) -> Architecture:
    return Architecture(
        layers_kept=kept,
        layers_total=shape.layers,
        width=shape.width,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_width=shape.head_width,
        ffn_width=shape.ffn_width,
        vocabulary=shape.vocabulary,
        rope_theta=shape.rope_theta,
        rms_epsilon=shape.rms_epsilon,
    )
