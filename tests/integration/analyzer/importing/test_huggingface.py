"""Hugging Face folders: safetensors in all their forms, tokenizers, and folders that lie."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.adapters import runtime
from analyzer.adapters.tokenizer import open_tokenizer
from analyzer.importing.checkpoint import (
    CheckpointDamagedError,
    ImportFailedError,
    RopeScaling,
    TokenizerSource,
    UnsupportedArchitectureError,
    tensor_shapes,
)
from analyzer.importing.huggingface import HuggingFaceCheckpoint
from tests.support import numpy_llama
from tests.support.llama_checkpoints import (
    RandomCheckpoint,
    byte_level_source,
    tiny_shape,
    train_sentencepiece,
    write_huggingface,
)

runtime.prepare()


@pytest.fixture
def original() -> RandomCheckpoint:
    """A checkpoint with grouped-query attention and an output layer of its own."""
    return RandomCheckpoint(tiny_shape(), byte_level_source())


@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_comes_back_as_it_went_in(shards: int, original: RandomCheckpoint, tmp_path: Path) -> None:
    """One file or several with an index."""
    read = HuggingFaceCheckpoint(write_huggingface(tmp_path / "m", original, shards=shards))
    assert read.shape == original.shape
    for name in tensor_shapes(original.shape):
        np.testing.assert_array_equal(read.array(name), original.array(name), err_msg=name)


def test_bfloat16_and_float16_are_widened(original: RandomCheckpoint, tmp_path: Path) -> None:
    """The usual types of published checkpoints, read without torch."""
    folder = write_huggingface(tmp_path / "m", original)
    values = original.array("lm_head.weight")
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    write_raw(folder / "model.safetensors", {"a": ("BF16", upper), "b": ("F16", values.astype("<f2"))})
    read = HuggingFaceCheckpoint(folder)
    np.testing.assert_allclose(read.array("a"), values, rtol=2**-7)
    np.testing.assert_allclose(read.array("b"), values, rtol=2**-10, atol=1e-6)


def test_a_folder_with_sentencepiece_converts_to_the_reference_logits(tmp_path: Path) -> None:
    """Safetensors and a SentencePiece tokenizer.model trained here, through to float32 logits within 1e-3."""
    import ctranslate2  # noqa: PLC0415 - only after the runtime is prepared

    from analyzer.importing.convert import convert  # noqa: PLC0415

    model = train_sentencepiece(tmp_path)
    source = TokenizerSource("sentencepiece", model.read_bytes(), ())
    original = RandomCheckpoint(tiny_shape(), source)
    read = HuggingFaceCheckpoint(write_huggingface(tmp_path / "m", original))
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(read, folder, quantization="float32")
    tokenizer = open_tokenizer(folder, read.tokenizer.kind, read.tokenizer.special_tokens)
    ids = tokenizer.encode("the quick brown fox <s> writes code")
    got = np.array(ctranslate2.Generator(str(folder), intra_threads=1).forward_batch([ids]))[0]
    np.testing.assert_allclose(got, numpy_llama.logits(original, ids), atol=1e-3)
    assert tokenizer.vocabulary == read.tokenizer.tokens
    assert json.loads((folder / "vocabulary.json").read_text()) == list(tokenizer.vocabulary)


def test_tokenizer_model_goes_before_tokenizer_json(original: RandomCheckpoint, tmp_path: Path) -> None:
    """TinyLlama brings both; its SentencePiece file is the original."""
    folder = write_huggingface(tmp_path / "m", original)
    train_sentencepiece(folder)
    assert HuggingFaceCheckpoint(folder).tokenizer.kind == "sentencepiece"


def test_a_tokenizer_model_of_another_format_is_passed_over(original: RandomCheckpoint, tmp_path: Path) -> None:
    """Some models keep a tiktoken file under that name, beside a tokenizer.json."""
    folder = write_huggingface(tmp_path / "m", original)
    (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    assert HuggingFaceCheckpoint(folder).tokenizer.kind == "tokenizers"


def test_tokens_and_template_of_the_tokenizer_config_are_kept(original: RandomCheckpoint, tmp_path: Path) -> None:
    """Control tokens, begin and end tokens and the chat template reach the manifest's frame."""
    folder = write_huggingface(tmp_path / "m", original)
    settings = {"bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}, "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = HuggingFaceCheckpoint(folder).tokenizer
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.chat_template) == (1, 2, "{{ messages }}")
    assert tokenizer.special_tokens == {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}


def test_the_tinyllama_configuration_gives_its_shape(original: RandomCheckpoint, tmp_path: Path) -> None:
    """The documented production choice: 22 layers, 32 heads over 4, width 2048, 5632 in the middle."""
    folder = write_huggingface(
        tmp_path / "m",
        original,
        hidden_size=2048,
        intermediate_size=5632,
        num_attention_heads=32,
        num_hidden_layers=22,
        num_key_value_heads=4,
        vocab_size=32000,
        rope_scaling=None,
        attention_bias=False,
        pretraining_tp=1,
        max_position_embeddings=2048,
    )
    shape = HuggingFaceCheckpoint(folder).shape
    assert (shape.layers, shape.heads, shape.kv_heads, shape.head_width) == (22, 32, 4, 64)
    assert tensor_shapes(shape)["model.layers.21.self_attn.k_proj.weight"] == (256, 2048)


@pytest.mark.parametrize(("settings", "expected"), [({}, False), ({"add_bos_token": True}, True)])
def test_whether_a_text_begins_with_bos_is_kept(
    settings: dict[str, bool],
    expected: bool,  # noqa: FBT001 - a table's column
    original: RandomCheckpoint,
    tmp_path: Path,
) -> None:
    """From the tokenizer's own habit, unless its configuration says otherwise."""
    folder = write_huggingface(tmp_path / "m", original)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|im_start|>", **settings}))
    assert HuggingFaceCheckpoint(folder).tokenizer.add_bos is expected


def test_llamas_sentencepiece_begins_with_bos(original: RandomCheckpoint, tmp_path: Path) -> None:
    """As TinyLlama's does."""
    folder = write_huggingface(tmp_path / "m", original)
    train_sentencepiece(folder)
    assert HuggingFaceCheckpoint(folder).tokenizer.add_bos


@pytest.mark.parametrize(
    ("config", "theta", "scaling"),
    [
        ({"rope_theta": 5e5}, 5e5, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}, 1e5, None),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 1e4, RopeScaling("linear", 2.0)),
        (
            {
                "rope_theta": 5e5,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 32.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            },
            5e5,
            RopeScaling("llama3", 32.0, 1.0, 4.0, 8192),
        ),
    ],
)
def test_rope_settings_old_and_new_are_understood(
    config: dict[str, Any], theta: float, scaling: RopeScaling | None, original: RandomCheckpoint, tmp_path: Path
) -> None:
    """The base and its scaling, wherever the configuration's age put them."""
    shape = HuggingFaceCheckpoint(write_huggingface(tmp_path / "m", original, **config)).shape
    assert (shape.rope_theta, shape.rope_scaling) == (theta, scaling)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "mistral"}, "mistral"),
        ({"hidden_act": "gelu"}, "SiLU"),
        ({"attention_bias": True}, "biases"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "yarn"),
    ],
)
def test_what_is_not_plain_llama_is_refused_with_its_reason(
    config: dict[str, Any], reason: str, original: RandomCheckpoint, tmp_path: Path
) -> None:
    """The message names the property that does not fit."""
    folder = write_huggingface(tmp_path / "m", original, **config)
    with pytest.raises(UnsupportedArchitectureError, match=reason):
        assert HuggingFaceCheckpoint(folder).shape


def test_an_index_can_not_reach_outside_its_folder(original: RandomCheckpoint, tmp_path: Path) -> None:
    """A path in the index is refused before any file is opened."""
    folder = write_huggingface(tmp_path / "m", original)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(CheckpointDamagedError, match="plain files"):
        HuggingFaceCheckpoint(folder)


def test_pickled_weights_are_refused(original: RandomCheckpoint, tmp_path: Path) -> None:
    """A .bin file can run code; the message asks for safetensors."""
    folder = write_huggingface(tmp_path / "m", original)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ImportFailedError, match="safetensors"):
        HuggingFaceCheckpoint(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_safetensors_are_named(share: float, original: RandomCheckpoint, tmp_path: Path) -> None:
    """Cut anywhere, the file gives a typed error."""
    path = write_huggingface(tmp_path / "m", original) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointDamagedError, match=r"model\.safetensors"):
        HuggingFaceCheckpoint(tmp_path / "m")


def test_a_header_that_claims_more_than_the_file_holds_is_refused(original: RandomCheckpoint, tmp_path: Path) -> None:
    """Offsets beyond the end are caught before reading."""
    folder = write_huggingface(tmp_path / "m", original)
    header = json.dumps({"a": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4_000_000]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    with pytest.raises(CheckpointDamagedError):
        HuggingFaceCheckpoint(folder)


def test_a_tensor_of_the_wrong_shape_stops_the_conversion(original: RandomCheckpoint, tmp_path: Path) -> None:
    """The configuration and the weights must agree."""
    from analyzer.importing.convert import convert  # noqa: PLC0415 - only after the runtime is prepared

    folder = write_huggingface(tmp_path / "m", original, intermediate_size=128)
    with pytest.raises(CheckpointDamagedError, match="gate_proj"):
        convert(HuggingFaceCheckpoint(folder), tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_type": "llama"}'])
def test_a_damaged_configuration_is_named(content: str, original: RandomCheckpoint, tmp_path: Path) -> None:
    """Whatever is wrong with config.json, the error is typed."""
    folder = write_huggingface(tmp_path / "m", original)
    (folder / "config.json").write_text(content)
    with pytest.raises(ImportFailedError, match=r"config\.json|SiLU|model"):
        assert HuggingFaceCheckpoint(folder).shape


KEYS = [
    "model_type",
    "hidden_act",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "num_hidden_layers",
    "vocab_size",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["x", -1, 0, 1.5, [], [1], {}, {"a": []}, None, True, 10**30, float("nan")], ids=repr)
def test_any_junk_in_the_configuration_ends_in_a_typed_error_or_a_model(
    key: str, value: object, original: RandomCheckpoint, tmp_path: Path
) -> None:
    """No value of any type in any key crashes the import."""
    from analyzer.importing.convert import convert  # noqa: PLC0415 - only after the runtime is prepared

    folder = write_huggingface(tmp_path / "m", original, **{key: value})
    with contextlib.suppress(ImportFailedError):
        convert(HuggingFaceCheckpoint(folder), tmp_path)


def write_raw(path: Path, tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    """Writes a safetensors file with type names numpy does not know."""
    header, at = {}, 0
    for name, (kind, values) in tensors.items():
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    encoded = json.dumps(header).encode()
    data = b"".join(values.tobytes() for _, values in tensors.values())
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
