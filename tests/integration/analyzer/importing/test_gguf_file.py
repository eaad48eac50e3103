"""GGUF files: weights in the right order, tokenizers that agree, damage that is named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import gguf
import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.adapters import runtime
from analyzer.adapters.tokenizer import HuggingFaceTokenizer
from analyzer.importing.checkpoint import (
    CheckpointDamagedError,
    ImportFailedError,
    UnsupportedArchitectureError,
    tensor_shapes,
)
from analyzer.importing.gguf_file import GgufCheckpoint
from tests.support import numpy_llama
from tests.support.llama_checkpoints import (
    CONTROL,
    SENTENCES,
    RandomCheckpoint,
    byte_level_source,
    byte_level_tokenizer,
    tiny_shape,
    train_sentencepiece,
    write_gguf,
)

runtime.prepare()

TEXTS = [
    *SENTENCES[:5],
    "",
    " ",
    "  two  spaces ",
    "x=1234;\n\ty",
    "héllo wörld",
    "日本 🎉",
    "<s> </s> <unk> <0x41>",
    "a" * 300,
]


@pytest.fixture
def original() -> RandomCheckpoint:
    """A checkpoint with grouped-query attention and tied embeddings."""
    return RandomCheckpoint(tiny_shape(tied_embeddings=True), byte_level_source())


def test_every_tensor_comes_back_as_it_went_in(original: RandomCheckpoint, tmp_path: Path) -> None:
    """The interleaving of query and key rows is undone exactly, head by head."""
    read = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original))
    assert read.shape == original.shape
    for name in tensor_shapes(original.shape):
        np.testing.assert_array_equal(read.array(name), original.array(name), err_msg=name)


@pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F16])
def test_quantised_tensors_are_widened(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    """A quantised file gives the weights to the precision of its type."""
    original = RandomCheckpoint(tiny_shape(), byte_level_source())
    read = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original, kind=kind))
    for name in tensor_shapes(original.shape):
        np.testing.assert_allclose(read.array(name), original.array(name), atol=0.01)


def test_a_converted_gguf_gives_the_reference_logits(original: RandomCheckpoint, tmp_path: Path) -> None:
    """File to CTranslate2, float32, against numpy on the weights that went into the file: within 1e-3."""
    import ctranslate2  # noqa: PLC0415 - only after the runtime is prepared

    from analyzer.importing.convert import convert  # noqa: PLC0415

    folder = tmp_path / "converted"
    folder.mkdir()
    convert(GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original)), folder, quantization="float32")
    ids = [9, 80, 7, 300, 12, 45]
    got = np.array(ctranslate2.Generator(str(folder), intra_threads=1).forward_batch([ids]))[0]
    np.testing.assert_allclose(got, numpy_llama.logits(original, ids), atol=1e-3)


def test_name_licence_and_checksum_come_from_the_file(original: RandomCheckpoint, tmp_path: Path) -> None:
    """What the file states is kept for the manifest."""
    base = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original)).base
    assert (base.name, base.licence, base.source) == ("Tiny Test", "cc0-1.0", "gguf:m.gguf")
    assert base.sha256 is not None


@pytest.mark.parametrize("text", TEXTS)
def test_the_rebuilt_byte_level_tokenizer_agrees_with_the_original(
    text: str, original: RandomCheckpoint, tmp_path: Path
) -> None:
    """Same ids as the tokenizer whose vocabulary went into the file."""
    source = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original)).tokenizer
    rebuilt = HuggingFaceTokenizer(source.content, source.special_tokens)
    assert rebuilt.encode(text) == byte_level_tokenizer().encode(text).ids
    assert rebuilt.decode(rebuilt.encode(text)) == text
    assert set(source.special_tokens) == set(CONTROL)


@pytest.mark.parametrize("text", TEXTS)
def test_the_rebuilt_sentencepiece_tokenizer_agrees_with_sentencepiece(text: str, tmp_path: Path) -> None:
    """A GGUF "llama" vocabulary gives the ids sentencepiece itself gives."""
    model = train_sentencepiece(tmp_path)
    original = RandomCheckpoint(tiny_shape(), byte_level_source())
    source = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original, sentencepiece_model=model)).tokenizer
    rebuilt = HuggingFaceTokenizer(source.content, source.special_tokens)
    assert rebuilt.encode(text) == sentencepiece.SentencePieceProcessor(model_file=str(model)).encode(text)


@pytest.fixture(scope="module")
def both_tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[HuggingFaceTokenizer, object]:
    """The tokenizer rebuilt from a GGUF "llama" vocabulary, and sentencepiece's own."""
    folder = tmp_path_factory.mktemp("tokenizers")
    model = train_sentencepiece(folder)
    original = RandomCheckpoint(tiny_shape(), byte_level_source())
    source = GgufCheckpoint(write_gguf(folder / "m.gguf", original, sentencepiece_model=model)).tokenizer
    return (
        HuggingFaceTokenizer(source.content, source.special_tokens),
        sentencepiece.SentencePieceProcessor(model_file=str(model)),
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("the quickfox rain<s>/é日 \n12"), max_size=60))
def test_both_sentencepiece_forms_agree_on_any_text(
    text: str, both_tokenizers: tuple[HuggingFaceTokenizer, object]
) -> None:
    """Random text near the vocabulary: same ids from the rebuilt tokenizer and from sentencepiece."""
    rebuilt, processor = both_tokenizers
    assert rebuilt.encode(text) == processor.encode(text)  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named_as_such(share: float, original: RandomCheckpoint, tmp_path: Path) -> None:
    """Cut anywhere, the file gives a typed error with a way out, never a crash."""
    path = write_gguf(tmp_path / "m.gguf", original)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImportFailedError):
        read_everything(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_never_crash_the_reader(data: st.DataObject, tmp_path: Path) -> None:
    """Damage in the header ends in a typed error or in a readable file, quickly."""
    path = tmp_path / "whole.gguf"
    if not path.exists():
        write_gguf(path, RandomCheckpoint(tiny_shape(layers=1), byte_level_source()))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, 1500) | st.integers(0, 40_000))
    content[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content)
    try:
        read_everything(damaged)
    except ImportFailedError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right


KEYS = [
    "general.architecture",
    "llama.embedding_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.attention.layer_norm_rms_epsilon",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.chat_template",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["x", -1, 0, 1.5, [], [1], ["a"], ["a", "a"], True, None], ids=repr)
def test_any_junk_in_the_metadata_ends_in_a_typed_error_or_a_model(
    key: str, value: object, original: RandomCheckpoint, tmp_path: Path
) -> None:
    """No value of any type under any key crashes the import."""
    from analyzer.importing.convert import convert  # noqa: PLC0415 - only after the runtime is prepared

    read = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original))
    read._metadata = {**read._metadata, key: value}
    with contextlib.suppress(ImportFailedError):
        read._refuse_what_is_not_plain_llama()
        convert(read, tmp_path)


@pytest.mark.parametrize("architecture", ["gemma2", "qwen2"])
def test_other_architectures_are_refused_by_name(architecture: str, original: RandomCheckpoint, tmp_path: Path) -> None:
    """The refusal says what the file holds."""
    path = write_gguf(tmp_path / "m.gguf", original, architecture=architecture)
    with pytest.raises(UnsupportedArchitectureError, match=architecture):
        GgufCheckpoint(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Not everything with the ending is a GGUF file."""
    path = tmp_path / "m.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CheckpointDamagedError, match="not a GGUF file"):
        GgufCheckpoint(path)


def test_a_missing_tensor_is_named(original: RandomCheckpoint, tmp_path: Path) -> None:
    """A file without one layer's norm fails when that tensor is asked for."""
    del original.arrays["model.layers.2.input_layernorm.weight"]
    read = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", original))
    with pytest.raises(CheckpointDamagedError, match=r"blk\.2\.attn_norm"):
        read.array("model.layers.2.input_layernorm.weight")


def read_everything(path: Path) -> None:
    """Reads all a conversion would read."""
    read = GgufCheckpoint(path)
    assert read.tokenizer.tokens
    for name in tensor_shapes(read.shape):
        read.array(name)
