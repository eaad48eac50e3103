"""Tiny random Llama checkpoints of the tests' own making, in memory and in the file formats that can be imported."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import sentencepiece
import tokenizers
from safetensors.numpy import save_file

from analyzer.importing.checkpoint import CheckpointDamagedError, LlamaShape, TokenizerSource, tensor_shapes
from analyzer.manifest import BaseWeights

Array = npt.NDArray[np.float32]

WORDS = "the quick brown fox jumps over lazy dogs writes good code in rust and python while it rains".split()  # noqa: SIM905 - reads better
SENTENCES = [" ".join(WORDS[(start * 7 + step) % len(WORDS)] for step in range(9)) for start in range(60)]
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def tiny_shape(**changes: Any) -> LlamaShape:
    """Returns a small shape with grouped-query attention and separate output rows."""
    shape = LlamaShape(
        layers=3,
        width=64,
        heads=4,
        kv_heads=2,
        head_width=16,
        ffn_width=96,
        vocabulary=320,
        rope_theta=10000.0,
        rms_epsilon=2.0**-17,  # float32 holds it exactly, as GGUF files do
        tied_embeddings=False,
    )
    return replace(shape, **changes)


@dataclass
class RandomCheckpoint:
    """A checkpoint of seeded random weights."""

    shape: LlamaShape
    tokenizer: TokenizerSource
    base: BaseWeights = field(default_factory=lambda: BaseWeights(name="tests/Tiny", licence="CC0-1.0", source="test"))
    seed: int = 7

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """All tensors by their Hugging Face names."""
        random = np.random.default_rng(self.seed)
        return {name: _random(random, dimensions) for name, dimensions in tensor_shapes(self.shape).items()}

    def array(self, name: str) -> Array:
        """Returns one tensor."""
        if name not in self.arrays:
            raise CheckpointDamagedError(f"no {name}")
        return self.arrays[name]


def _random(random: np.random.Generator, dimensions: tuple[int, ...]) -> Array:
    if len(dimensions) == 1:
        return random.uniform(0.5, 1.5, dimensions).astype(np.float32)
    return (random.normal(size=dimensions) / np.sqrt(dimensions[1])).astype(np.float32)


def byte_level_tokenizer(size: int = 320) -> tokenizers.Tokenizer:
    """Returns a byte-level BPE trained on a few sentences, with a chat template's control tokens first."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    digits, bytes_ = tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([digits, bytes_(add_prefix_space=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(CONTROL), initial_alphabet=bytes_.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def byte_level_source(size: int = 320) -> TokenizerSource:
    """Returns the trained byte-level tokenizer as an importer hands it on."""
    tokenizer = byte_level_tokenizer(size)
    ids = {index: token for token, index in tokenizer.get_vocab().items()}
    return TokenizerSource(
        kind="tokenizers",
        content=tokenizer.to_str().encode(),
        tokens=tuple(ids[index] for index in range(len(ids))),
        special_tokens={token: index for index, token in enumerate(CONTROL)},
        bos_token_id=1,
        eos_token_id=2,
        unk_token_id=0,
    )


def train_sentencepiece(folder: Path, *, size: int = 320, kind: str = "bpe") -> Path:
    """Trains a SentencePiece tokenizer.model like Llama's (byte fallback, digits split) and returns its path."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(SENTENCES))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=size,
        model_type=kind,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    corpus.unlink()
    (folder / "tokenizer.vocab").unlink()
    return folder / "tokenizer.model"


def write_huggingface(folder: Path, checkpoint: RandomCheckpoint, *, shards: int = 1, **config: Any) -> Path:
    """Writes config.json, the tokenizer and safetensors, in `shards` files with an index when more than one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_config(checkpoint.shape) | config))
    (folder / checkpoint.tokenizer.file_name).write_bytes(checkpoint.tokenizer.content)
    names = sorted(checkpoint.arrays)
    if shards == 1:
        save_file(checkpoint.arrays, folder / "model.safetensors")
        return folder
    placed = {name: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors" for index, name in enumerate(names)}
    for file in set(placed.values()):
        save_file({name: checkpoint.arrays[name] for name in names if placed[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder


def _config(shape: LlamaShape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.width,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.ffn_width,
        "vocab_size": shape.vocabulary,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.rms_epsilon,
        "tie_word_embeddings": shape.tied_embeddings,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


_GGUF_NAMES = {
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


def write_gguf(
    path: Path,
    checkpoint: RandomCheckpoint,
    *,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    sentencepiece_model: Path | None = None,
    architecture: str = "llama",
) -> Path:
    """Writes the checkpoint as llama.cpp's converter would: query and key rows interleaved for its rotary layout."""
    shape = checkpoint.shape
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny Test")
    writer.add_license("cc0-1.0")
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.ffn_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_epsilon)
    if sentencepiece_model is None:
        _add_byte_level_vocabulary(writer, checkpoint.tokenizer)
    else:
        _add_sentencepiece_vocabulary(writer, sentencepiece_model)
    for name, values in checkpoint.arrays.items():
        _add_tensor(writer, shape, name, values, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_byte_level_vocabulary(writer: gguf.GGUFWriter, source: TokenizerSource) -> None:
    model = json.loads(source.content)["model"]
    special = set(source.special_tokens)
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in source.tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(source.tokens))
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _add_sentencepiece_vocabulary(writer: gguf.GGUFWriter, model: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    size = processor.get_piece_size()
    checks = (
        (processor.is_unknown, gguf.TokenType.UNKNOWN),
        (processor.is_control, gguf.TokenType.CONTROL),
        (processor.is_byte, gguf.TokenType.BYTE),
    )
    kinds = [next((kind for check, kind in checks if check(id_)), gguf.TokenType.NORMAL) for id_ in range(size)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([processor.id_to_piece(id_) for id_ in range(size)])
    writer.add_token_scores([processor.get_score(id_) for id_ in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())


def _add_tensor(
    writer: gguf.GGUFWriter, shape: LlamaShape, name: str, values: Array, kind: gguf.GGMLQuantizationType
) -> None:
    top = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}
    if name in top:
        target = top[name]
    else:
        _, _, index, rest = name.split(".", 3)
        target = f"blk.{index}.{_GGUF_NAMES[rest.removesuffix('.weight')]}"
    if name.endswith("q_proj.weight"):
        values = _interleaved(values, shape.heads)
    elif name.endswith("k_proj.weight"):
        values = _interleaved(values, shape.kv_heads)
    if values.ndim == 1 or kind is gguf.GGMLQuantizationType.F32:
        writer.add_tensor(f"{target}.weight", values)
    else:
        writer.add_tensor(f"{target}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)


def _interleaved(rows: Array, heads: int) -> Array:
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)
