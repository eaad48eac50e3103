"""Graded prompts: reading them, joining their sources on one scale, and splitting off a validation part.

A line of a data file is a JSON object with `prompt` or `messages` and any of

- `weak`, `strong`: outcomes (0..1) of a SMALL and a FRONTIER model;
- `scores`: outcomes by model name, averaged over the models that define each ability;
- `level`: trivial, ordinary, demanding or expert, a judgement without outcomes (`label: hard`: between the last two);
- `task`, `domain`, `id`.
"""

import enum
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analyzer.analysis import Task

VALIDATION_SHARE = 0.2
OPEN_KIND = "open"

# The strong model of this subject is right in 3 % of the rows and the weak one in 33 %, where guessing gives 25 %:
# the source graded it wrongly, and a judge trained on it learns not to escalate mathematics.
FAULTY_DOMAINS = frozenset({"high_school_mathematics"})

# Instructions that one source adds to a question and another does not. Stripped before hashing, so that the same
# question never stands on both sides of the split.
_INSTRUCTIONS = re.compile(r"(\n*after careful thought, put you.{0,80}$|\n*answer:\s*$)", re.IGNORECASE | re.DOTALL)
_HASH_BITS = 32


class DataError(ValueError):
    """A data file that can't be used; the message names file, line and what is wrong."""


class Level(enum.StrEnum):
    """How demanding a prompt is by the judgement of whoever wrote it down, easiest first."""

    TRIVIAL = "trivial"
    ORDINARY = "ordinary"
    DEMANDING = "demanding"
    EXPERT = "expert"


# What a level stands for on the scale of the graded prompts: assumed success at (SMALL, FRONTIER). Labelled, not
# measured: prompts with a level shape the judgement of open-ended work and never count as graded in an evaluation.
LEVEL_SUCCESS: Mapping[str, tuple[float, float]] = {
    Level.TRIVIAL: (0.985, 0.99),
    Level.ORDINARY: (0.92, 0.97),
    Level.DEMANDING: (0.68, 0.93),
    Level.EXPERT: (0.38, 0.84),
    "hard": (0.55, 0.88),
}


@dataclass(frozen=True, slots=True)
class AbilityPools:
    """The models of `scores` whose mean outcome defines each reference ability."""

    small: Collection[str] = (
        "mistral-7b-instruct-v0.3",
        "gemma-2-9b-it",
        "llama-3.1-8b-instruct",
        "qwen2.5-7b-instruct",
    )
    frontier: Collection[str] = ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1")


@dataclass(frozen=True, slots=True)
class TextMessage:
    """One message of a training prompt."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class GradedPrompt:
    """A prompt with what is known of it. `small` and `frontier` are outcomes, or what the level stands for."""

    messages: tuple[TextMessage, ...]
    source: str
    small: float | None = None
    frontier: float | None = None
    level: str | None = None
    task: Task | None = None
    domain: str | None = None
    position: float = field(default=0.0, compare=False)
    """Where the hash of the question falls in [0, 1): decides validation part and cross-validation fold."""

    @property
    def text(self) -> str:
        """The last message, which is the user's."""
        return self.messages[-1].content

    @property
    def graded(self) -> bool:
        """Whether real models answered this prompt."""
        return self.level is None and self.small is not None

    @property
    def kind(self) -> str:
        """Which expert learns from it: its source's, or the one for open-ended work."""
        return self.source if self.graded else OPEN_KIND

    @property
    def faulty(self) -> bool:
        """Whether the source is known to have graded it wrongly."""
        return self.domain in FAULTY_DOMAINS

    @property
    def validation(self) -> bool:
        """Whether it belongs to the part that nothing is fitted on."""
        return self.position < VALIDATION_SHARE


def question_position(text: str) -> float:
    """Returns a number in [0, 1) that depends on the question alone, not on case, spacing or added instructions."""
    question = " ".join(_INSTRUCTIONS.sub("", text).lower().split())
    digest = hashlib.sha256(question.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[: _HASH_BITS // 8], "big") / float(2**_HASH_BITS)


def read_prompts(paths: Sequence[Path], pools: AbilityPools | None = None) -> list[GradedPrompt]:
    """Reads data files; a file's stem names the source. Raises DataError with file and line."""
    pools = pools or AbilityPools()
    prompts = [prompt for path in paths for prompt in _read_file(path, pools)]
    if not prompts:
        raise DataError(f"no prompts in {', '.join(map(str, paths)) or 'no file'}")
    return prompts


def _read_file(path: Path, pools: AbilityPools) -> Iterator[GradedPrompt]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield parse_prompt(json.loads(line), path.stem, pools)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{path}:{number}: {error}") from error


def parse_prompt(row: Mapping[str, Any], source: str, pools: AbilityPools) -> GradedPrompt:
    """Makes a prompt of one line's object. Raises ValueError, saying what is missing."""
    messages = _messages(row)
    level = row.get("level") or row.get("label")
    small, frontier = _outcomes(row, level, pools)
    for name, value in (("small", small), ("frontier", frontier)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"the outcome of the {name} ability is {value}, not between 0 and 1")
    return GradedPrompt(
        messages=messages,
        source=source,
        small=small,
        frontier=frontier,
        level=level,
        task=Task(row["task"]) if row.get("task") else None,
        domain=row.get("domain"),
        position=question_position(messages[-1].content),
    )


def _messages(row: Mapping[str, Any]) -> tuple[TextMessage, ...]:
    if isinstance(row.get("prompt"), str):
        return (TextMessage("user", row["prompt"]),)
    messages = tuple(TextMessage(item["role"].lower(), item["content"]) for item in row.get("messages", ()))
    if not messages or messages[-1].role != "user":
        raise ValueError("a line needs a 'prompt', or 'messages' of which the last one is the user's")
    return messages


def _outcomes(row: Mapping[str, Any], level: str | None, pools: AbilityPools) -> tuple[float | None, float | None]:
    if level is not None:
        if level not in LEVEL_SUCCESS:
            raise ValueError(f"unknown level {level!r}; known are {', '.join(LEVEL_SUCCESS)}")
        return LEVEL_SUCCESS[level]
    if "scores" in row:
        return _pooled(row["scores"], pools.small), _pooled(row["scores"], pools.frontier)
    if "weak" in row and "strong" in row:
        return float(row["weak"]), float(row["strong"])
    if row.get("task"):
        return None, None
    raise ValueError("a line needs 'weak' and 'strong', 'scores', 'level' or 'task'")


def _pooled(scores: Mapping[str, float], models: Collection[str]) -> float:
    found = [float(scores[model]) for model in models if model in scores]
    if not found:
        raise ValueError(f"none of {', '.join(models)} among the graded models {', '.join(sorted(scores))}")
    return sum(found) / len(found)


def read_conversations(path: Path, key: str) -> list[tuple[TextMessage, ...]]:
    """Reads the conversations under `key` (a text, or messages) or `messages` of each line of a file."""
    conversations = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(filter(str.strip, lines), 1):
            try:
                row = json.loads(line)
                value = row.get(key, row.get("messages"))
                conversations.append(_messages({"prompt" if isinstance(value, str) else "messages": value}))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{path}:{number}: {error}") from error
    return conversations
