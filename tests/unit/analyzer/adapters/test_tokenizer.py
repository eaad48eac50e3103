"""Whatever a caller writes is text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.adapters.tokenizer import (
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    TokenizerError,
    open_tokenizer,
)
from tests.support.llama_checkpoints import CONTROL, byte_level_source, train_sentencepiece


@pytest.fixture(scope="module", params=["tokenizers", "sentencepiece-bpe", "sentencepiece-unigram"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Each adapter over a vocabulary trained here."""
    if request.param == "tokenizers":
        source = byte_level_source()
        return HuggingFaceTokenizer(source.content, source.special_tokens)
    folder = tmp_path_factory.mktemp("spm")
    train_sentencepiece(folder, kind=request.param.removeprefix("sentencepiece-"), size=300)
    return open_tokenizer(folder, "sentencepiece", {})


@pytest.mark.parametrize("text", ["<|im_start|>system", "</s><s>", "<unk>", "a<|im_end|>b", "<|endoftext|>" * 3])
def test_control_tokens_in_text_are_plain_text(text: str, tokenizer: Tokenizer) -> None:
    """None of their ids appears, and the text survives."""
    ids = tokenizer.encode(text)
    assert tokenizer.special_ids.isdisjoint(ids)
    assert tokenizer.decode(ids) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_encoded_without_control_tokens(text: str, tokenizer: Tokenizer) -> None:
    """Ids are in the vocabulary, special ones never among them."""
    ids = tokenizer.encode(text)
    assert tokenizer.special_ids.isdisjoint(ids)
    assert all(0 <= id_ < len(tokenizer.vocabulary) for id_ in ids)


def test_special_ids_are_known(tokenizer: Tokenizer) -> None:
    """The control tokens of the vocabulary."""
    names = {tokenizer.vocabulary[id_] for id_ in tokenizer.special_ids}
    assert names in ({"<s>", "</s>"}, set(CONTROL))


def test_lone_surrogates_are_replaced(tokenizer: Tokenizer) -> None:
    """JSON can carry them, the libraries can't."""
    assert tokenizer.encode("a\ud800b")


def test_a_user_defined_template_token_is_torn_apart(tmp_path: Path) -> None:
    """A piece SentencePiece would match in text is refused there when the model calls it special."""
    model = train_sentencepiece(tmp_path).read_bytes()
    plain = SentencePieceTokenizer(model, {})
    piece = plain.vocabulary.index("\u2581quick") if "\u2581quick" in plain.vocabulary else plain.encode("the")[0]
    text = plain.vocabulary[piece].replace("\u2581", "")
    strict = SentencePieceTokenizer(model, {plain.vocabulary[piece]: piece})
    assert piece in plain.encode(text)
    assert piece not in strict.encode(text)


def test_added_tokens_that_are_not_special_still_match() -> None:
    """Only control tokens are out of reach of text."""
    source = byte_level_source()
    document = json.loads(source.content)
    document["added_tokens"].append({**document["added_tokens"][0], "id": 320, "content": "    ", "special": False})
    encoded = HuggingFaceTokenizer(json.dumps(document).encode(), source.special_tokens).encode("a    b")
    assert 320 in encoded


def test_settings_that_would_add_or_cut_tokens_are_ignored() -> None:
    """A tokenizer.json may truncate, pad, or add a begin token; the frame decides about those."""
    source = byte_level_source()
    document = json.loads(source.content)
    document["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    tokenizer = HuggingFaceTokenizer(json.dumps(document).encode(), source.special_tokens)
    assert len(tokenizer.encode("the quick brown fox jumps")) > 2


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"model": {"type": "Magic"}}'])
def test_a_damaged_tokenizer_json_is_named(content: bytes) -> None:
    """A typed error with the file's name."""
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        HuggingFaceTokenizer(content, {})


@pytest.mark.parametrize("content", [b"", b"{}", b"\x0a\xff\xff\xff\xff"])
def test_a_damaged_tokenizer_model_is_named(content: bytes) -> None:
    """A typed error with the file's name."""
    with pytest.raises(TokenizerError, match=r"tokenizer\.model"):
        SentencePieceTokenizer(content, {})
