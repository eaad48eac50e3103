"""The tokenizer of a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from analyzer.adapters.tokenizer import HuggingFaceTokenizer, SentencePieceTokenizer, TokenizerError
from analyzer.importing.checkpoint import CheckpointDamagedError, ImportFailedError, TokenizerSource, number
from analyzer.manifest import TokenizerKind

_MAX_BYTES = 256 * 2**20
_NAMED = ("eos_token", "unk_token")


def tokenizer_from_folder(folder: Path, config: Mapping[str, Any]) -> TokenizerSource:
    """Returns the folder's tokenizer; a SentencePiece tokenizer.model goes before tokenizer.json.

    Raises CheckpointDamagedError when neither file can be read.
    """
    settings = _optional_json(folder / "tokenizer_config.json")
    kind, content, tokens, special = _read(folder, _added_specials(settings))
    tokens = tokens[: int(number(config.get("vocab_size"), "vocab_size"))]
    ids = {token: index for index, token in enumerate(tokens)}
    bos = ids.get(_token_text(settings.get("bos_token")) or "", _first_id(config, "bos_token_id"))
    named = {name: _token_text(settings.get(name)) for name in _NAMED}
    template = settings.get("chat_template")
    separate = folder / "chat_template.jinja"
    return TokenizerSource(
        kind=kind,
        content=content,
        tokens=tokens,
        special_tokens={tokens[index]: index for index in sorted(special) if index < len(tokens)},
        bos_token_id=bos,
        add_bos=bool(settings.get("add_bos_token", _begins_with(kind, content, bos))),
        eos_token_id=ids.get(named["eos_token"] or "", _first_id(config, "eos_token_id")),
        unk_token_id=ids.get(named["unk_token"] or ""),
        chat_template=separate.read_text() if separate.is_file() else template if isinstance(template, str) else None,
    )


def _read(folder: Path, added: Mapping[str, int]) -> tuple[TokenizerKind, bytes, tuple[str, ...], frozenset[int]]:
    problems = []
    try:
        if (folder / "tokenizer.model").is_file():
            content = _content(folder / "tokenizer.model")
            pieces = SentencePieceTokenizer(content, added)
            return "sentencepiece", content, _with_added(pieces.vocabulary, added), pieces.special_ids
    except TokenizerError as error:
        problems.append(str(error))  # some models put another format under this name, beside a tokenizer.json
    try:
        if (folder / "tokenizer.json").is_file():
            content = _content(folder / "tokenizer.json")
            whole = HuggingFaceTokenizer(content, added)
            return "tokenizers", content, whole.vocabulary, whole.special_ids
    except TokenizerError as error:
        problems.append(str(error))
    reason = "; ".join(problems) or "there is neither tokenizer.model nor tokenizer.json"
    raise CheckpointDamagedError(f"{folder.name} has no usable tokenizer: {reason}")


def _begins_with(kind: TokenizerKind, content: bytes, bos: int | None) -> bool:
    """Says whether the model's own tokenizer puts `bos` first: Llama's SentencePiece does, unless told otherwise."""
    if kind == "sentencepiece":
        return bos is not None
    return tokenizers.Tokenizer.from_str(content.decode()).encode("a").ids[:1] == [bos]


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        raise ImportFailedError(f"{path.name} is larger than {_MAX_BYTES} bytes")
    return path.read_bytes()


def _with_added(pieces: tuple[str, ...], added: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the pieces with tokens the folder adds above them, such as a chat template's."""
    above = {index: token for token, index in added.items() if index >= len(pieces)}
    last = max(above, default=len(pieces) - 1)
    return pieces + tuple(above.get(index, f"<unused_{index}>") for index in range(len(pieces), last + 1))


def _added_specials(settings: Mapping[str, Any]) -> dict[str, int]:
    decoder = settings.get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        return {}
    entries = {index: entry for index, entry in decoder.items() if isinstance(entry, dict) and index.isdigit()}
    return {str(entry.get("content")): int(index) for index, entry in entries.items() if entry.get("special")}


def _first_id(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, int) else None


def _token_text(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointDamagedError(f"{path.name} can't be read: {error}") from error
    return document if isinstance(document, dict) else {}
