"""Rebuilds a `tokenizer.json` from the vocabulary a GGUF file carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyzer.importing.checkpoint import (
    CheckpointDamagedError,
    TokenizerSource,
    UnsupportedArchitectureError,
)

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_SPACE = "\u2581"
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_SINGLE_DIGITS = {"type": "Digits", "individual_digits": True}
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "default": _BYTE_LEVEL,
    "gpt-2": _BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [_SINGLE_DIGITS, _BYTE_LEVEL]},
    "llama-bpe": {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": _LLAMA3_SPLIT},
                "behavior": "Isolated",
                "invert": False,
            },
            {**_BYTE_LEVEL, "use_regex": False},
        ],
    },
}


@dataclass(frozen=True)
class _Vocabulary:
    tokens: Sequence[str]
    kinds: Sequence[int]

    def of_kind(self, kind: int) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens) if self.kinds[index] == kind}


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> TokenizerSource:
    """Returns the tokenizer of a GGUF file; raises UnsupportedArchitectureError for a kind it does not know."""
    model = metadata.get("tokenizer.ggml.model")
    vocabulary = _vocabulary(metadata)
    if model == "gpt2":
        document = _byte_level_bpe(metadata, vocabulary)
    elif model == "llama":
        document = _sentencepiece_bpe(metadata, vocabulary)
    else:
        raise UnsupportedArchitectureError(
            f"the GGUF file has a tokenizer of type {model!r}; import the model's Hugging Face folder instead"
        )
    return TokenizerSource(
        kind="tokenizers",
        content=json.dumps(document, ensure_ascii=False).encode(),
        tokens=tuple(vocabulary.tokens),
        special_tokens=vocabulary.of_kind(_CONTROL) | vocabulary.of_kind(_UNKNOWN),
        bos_token_id=_id(metadata, "bos", vocabulary),
        add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", model == "llama")),
        eos_token_id=_id(metadata, "eos", vocabulary),
        unk_token_id=_id(metadata, "unknown", vocabulary),
        chat_template=template if isinstance(template := metadata.get("tokenizer.chat_template"), str) else None,
    )


def _id(metadata: Mapping[str, Any], name: str, vocabulary: _Vocabulary) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{name}_token_id")
    return value if isinstance(value, int) and 0 <= value < len(vocabulary.tokens) else None


def _vocabulary(metadata: Mapping[str, Any]) -> _Vocabulary:
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    kinds = metadata.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    texts = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
    if not tokens or not texts or not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise CheckpointDamagedError("the GGUF file holds no complete vocabulary; fetch it again")
    if len(set(tokens)) != len(tokens):
        raise CheckpointDamagedError("the GGUF file's vocabulary names a token twice")
    return _Vocabulary(tokens, kinds)


def _byte_level_bpe(metadata: Mapping[str, Any], vocabulary: _Vocabulary) -> dict[str, Any]:
    split = metadata.get("tokenizer.ggml.pre", "default")
    if not isinstance(split, str) or split not in _PRE_TOKENIZERS:
        raise UnsupportedArchitectureError(
            f"the GGUF file splits words the {split!r} way, known are {', '.join(_PRE_TOKENIZERS)}; "
            "import the model's Hugging Face folder instead"
        )
    merges = _merges(metadata, vocabulary)
    model = _bpe(vocabulary, merges, ignore_merges=split == "llama-bpe")
    return _document(vocabulary, model, pre_tokenizer=_PRE_TOKENIZERS[split], decoder=_BYTE_LEVEL)


def _merges(metadata: Mapping[str, Any], vocabulary: _Vocabulary) -> list[list[str]]:
    pairs, known = metadata.get("tokenizer.ggml.merges") or [], set(vocabulary.tokens)
    if not isinstance(pairs, list):
        raise CheckpointDamagedError("the GGUF file's merges are no list; fetch it again")
    merges = []
    for pair in pairs:
        left, _, right = str(pair).partition(" ")
        if not known >= {left, right, left + right}:
            raise CheckpointDamagedError("the GGUF file merges tokens its vocabulary lacks; fetch it again")
        merges.append([left, right])
    return merges


def _sentencepiece_bpe(metadata: Mapping[str, Any], vocabulary: _Vocabulary) -> dict[str, Any]:
    scores = metadata.get("tokenizer.ggml.scores") or []
    if len(scores) != len(vocabulary.tokens) or not all(isinstance(score, float) for score in scores):
        raise CheckpointDamagedError("the GGUF file's vocabulary lacks its scores; fetch it again")
    unknown = next(iter(vocabulary.of_kind(_UNKNOWN)), None)
    model = _bpe(
        vocabulary,
        _merges_from_scores(vocabulary, scores),
        byte_fallback=True,
        unk_token=unknown,
    )
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    steps: list[dict[str, Any]] = [{"type": "Prepend", "prepend": _SPACE}] if prefix else []
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": _SPACE})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return _document(
        vocabulary,
        model,
        normalizer={"type": "Sequence", "normalizers": steps},
        decoder={"type": "Sequence", "decoders": decoders},
    )


def _merges_from_scores(vocabulary: _Vocabulary, scores: Sequence[float]) -> list[list[str]]:
    """Returns every way to join two pieces into a third, best piece first: SentencePiece's order of joining.

    Only ordinary pieces are joined to: control tokens must not arise from a caller's text.
    """
    ids = vocabulary.of_kind(_NORMAL)
    merges: list[tuple[float, int, int, str, str]] = []
    for piece, index in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                merges.append((-scores[index], ids[left], ids[right], left, right))
    merges.sort()
    return [[left, right] for _, _, _, left, right in merges]


def _bpe(
    vocabulary: _Vocabulary,
    merges: list[list[str]],
    *,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
    unk_token: str | None = None,
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": byte_fallback,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
        "merges": merges,
    }


def _document(vocabulary: _Vocabulary, model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    atoms = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
        for token, index in vocabulary.of_kind(_USER_DEFINED).items()
    ]
    empty = dict.fromkeys(
        (
            "truncation",
            "padding",
            "normalizer",
            "pre_tokenizer",
            "post_processor",
            "decoder",
        )
    )
    return {"version": "1.0", **empty, "added_tokens": atoms, **parts, "model": model}
