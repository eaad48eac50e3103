"""Text to token ids, by Hugging Face's `tokenizers` or by SentencePiece.

Whatever a caller writes is text: control and chat-template tokens spelled out in it come back as ordinary pieces. Work
grows with the length of the text (about 1 ms for 4 KiB); `analyzer.framing` encodes windows of long texts and
extrapolates the count, so an adapter never sees 256 KiB at once on the serving path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import sentencepiece
import tokenizers

from analyzer.manifest import TokenizerKind


class TokenizerError(Exception):
    """A tokenizer file that can't be read; the message names it."""


class Tokenizer(Protocol):
    """One tokenizer; safe to use from several threads."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All tokens in id order."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids `encode` never returns."""
        ...

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without any token added around it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of some ids; control tokens are left out."""
        ...


class _Piece(NamedTuple):
    id: int
    start: int
    end: int


def open_tokenizer(folder: Path, kind: TokenizerKind, special_tokens: Mapping[str, int]) -> Tokenizer:
    """Opens the tokenizer of a revision's or a checkpoint's folder; raises TokenizerError."""
    if kind == "tokenizers":
        return HuggingFaceTokenizer((folder / "tokenizer.json").read_bytes(), special_tokens)
    return SentencePieceTokenizer((folder / "tokenizer.model").read_bytes(), special_tokens)


class HuggingFaceTokenizer:
    """A `tokenizer.json` with its special tokens taken out of the text's reach."""

    def __init__(self, content: bytes, special_tokens: Mapping[str, int]) -> None:
        try:
            document = json.loads(content)
            self._vocabulary = _token_list(tokenizers.Tokenizer.from_str(content.decode()))
            self._special_ids = (frozenset(special_tokens.values()) | _special_ids(document)) - _unknown_id(document)
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(_text_only(document, self._special_ids)))
        # The tokenizers package raises plain Exception for a document it can't use.
        except Exception as error:
            raise TokenizerError(f"tokenizer.json can't be read: {error}") from error

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All tokens in id order, holes filled with placeholders."""
        return self._vocabulary

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens, which `encode` never returns."""
        return self._special_ids

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, special tokens in it as plain text."""
        encoded = self._tokenizer.encode(_valid(text), add_special_tokens=False)
        if self._special_ids.isdisjoint(encoded.ids):
            return list(encoded.ids)
        pieces = [_Piece(id_, *span) for id_, span in zip(encoded.ids, encoded.offsets, strict=True)]
        return _torn_apart(self, _valid(text), pieces)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`."""
        return str(self._tokenizer.decode([id_ for id_ in ids if id_ not in self._special_ids]))


class SentencePieceTokenizer:
    """A SentencePiece `tokenizer.model`."""

    def __init__(self, content: bytes, special_tokens: Mapping[str, int]) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(content)
        except (RuntimeError, TypeError, OSError) as error:
            raise TokenizerError(f"tokenizer.model is not a SentencePiece model: {error}") from error
        size = self._processor.get_piece_size()
        self._vocabulary = tuple(self._processor.id_to_piece(index) for index in range(size))
        control = {index for index in range(size) if self._processor.is_control(index)}
        unknown = self._processor.unk_id()  # stands for characters the vocabulary lacks, so text may produce it
        self._special_ids = (frozenset(special_tokens.values()) | control) - {unknown}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All pieces in id order."""
        return self._vocabulary

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of the control tokens, which `encode` never returns."""
        return self._special_ids

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, control tokens in it as plain text."""
        ids: list[int] = self._processor.encode(_valid(text), out_type=int)
        if self._special_ids.isdisjoint(ids):
            return ids
        encoded = self._processor.encode(_valid(text), out_type="offset_mapping")
        pieces = [_Piece(id_, *span) for id_, span in zip(encoded["ids"], encoded["offsets"], strict=True)]
        return _torn_apart(self, _valid(text), pieces)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`."""
        return str(self._processor.decode([id_ for id_ in ids if id_ not in self._special_ids]))


def _valid(text: str) -> str:
    """Replaces lone surrogates, which neither library takes."""
    return text.encode("utf-8", "replace").decode()


def _torn_apart(tokenizer: Tokenizer, text: str, pieces: Sequence[_Piece]) -> list[int]:
    """Returns `pieces` with every special one encoded again in two halves, so that it can't be recognised."""
    ids: list[int] = []
    for piece in pieces:
        if piece.id not in tokenizer.special_ids:
            ids.append(piece.id)
        elif piece.end - piece.start > 1:
            middle = (piece.start + piece.end) // 2
            ids += tokenizer.encode(text[piece.start : middle]) + tokenizer.encode(text[middle : piece.end])
    return ids


def _token_list(tokenizer: tokenizers.Tokenizer) -> tuple[str, ...]:
    ids = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    return tuple(ids.get(index, f"<unused_{index}>") for index in range(max(ids, default=-1) + 1))


def _special_ids(document: Mapping[str, Any]) -> frozenset[int]:
    return frozenset(int(token["id"]) for token in document.get("added_tokens") or () if token.get("special"))


def _unknown_id(document: Mapping[str, Any]) -> frozenset[int]:
    """Returns the id that stands for characters the vocabulary lacks: text may produce it."""
    model = document["model"]
    token, vocabulary = model.get("unk_token"), model.get("vocab")
    if isinstance(model.get("unk_id"), int):
        return frozenset({model["unk_id"]})
    return frozenset({vocabulary[token]}) if isinstance(vocabulary, dict) and token in vocabulary else frozenset()


def _text_only(document: Mapping[str, Any], special_ids: frozenset[int]) -> dict[str, Any]:
    kept = [token for token in document.get("added_tokens") or () if token["id"] not in special_ids]
    return {**document, "added_tokens": kept, "truncation": None, "padding": None, "post_processor": None}
