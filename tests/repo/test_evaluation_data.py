"""The evaluation prompts keep their shape, their balance and their independence of one another."""

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"
LEVELS = ("trivial", "ordinary", "demanding", "expert")
TASKS = frozenset(
    ("knowledge", "reasoning", "math", "coding", "writing", "extraction", "translation", "conversation", "other"),
)
ROLES = frozenset(("system", "user", "assistant"))
LEVEL_FIELDS = {"id", "messages", "level", "task", "language", "rationale"}
CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")

SHAPES = {
    "levels.jsonl": (LEVEL_FIELDS, 200),
    "tasks.jsonl": (LEVEL_FIELDS - {"level"}, 320),
    "lookalikes.jsonl": ({"a", "b", "why"}, 220),
    "rewrites.jsonl": ({"a", "b", "why"}, 220),
    "injections.jsonl": ({"clean", "attacked", "kind"}, 70),
    "edits_base.jsonl": ({"id", "prompt"}, 100),
}


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of a file."""
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").split("\n") if line]


def whole_text(row: dict[str, Any]) -> str:
    """The contents of all messages, one under the other."""
    return "\n".join(message["content"] for message in row["messages"])


def word_count(text: str) -> int:
    """Words between spaces; two characters count as a word where a script has no spaces."""
    return len(CJK.sub("", text).split()) + len(CJK.findall(text)) // 2


def ranks(values: list[int]) -> Any:
    """Ranks of the values, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(left: list[int], right: list[int]) -> float:
    """Rank correlation of two lists."""
    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def normalized(text: str) -> str:
    """The text without case and white space."""
    return "".join(text.lower().split())


@pytest.mark.parametrize("name", SHAPES)
def test_every_row_has_exactly_its_fields_and_none_is_empty(name: str) -> None:
    """A row that lacks a field, or has another, would be skipped or misread."""
    fields, least = SHAPES[name]
    found = rows(name)
    assert len(found) >= least
    assert all(set(row) == fields for row in found)
    assert all(value for row in found for value in row.values())


@pytest.mark.parametrize("name", ["levels.jsonl", "tasks.jsonl"])
def test_conversations_are_such_as_the_service_accepts(name: str) -> None:
    """A system message comes first if at all, turns alternate, and the last one is the user's."""
    for row in rows(name):
        roles = [message["role"] for message in row["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert set(roles) <= ROLES
        assert turns == ["user", "assistant"] * (len(turns) // 2) + ["user"], row["id"]
        assert all(set(message) == {"role", "content"} and message["content"] for message in row["messages"])


@pytest.mark.parametrize("name", ["levels.jsonl", "tasks.jsonl", "edits_base.jsonl"])
def test_ids_are_unique(name: str) -> None:
    """An id names one prompt in reports."""
    ids = [row["id"] for row in rows(name)]
    assert len(ids) == len(set(ids))


def test_no_prompt_stands_in_two_places() -> None:
    """A repeated prompt would count twice, or tie two evaluations together."""
    texts = [whole_text(row) for name in ("levels.jsonl", "tasks.jsonl") for row in rows(name)]
    texts += [row["a"] for name in ("lookalikes.jsonl", "rewrites.jsonl") for row in rows(name)]
    texts += [row["clean"] for row in rows("injections.jsonl")]
    texts += [row["prompt"] for row in rows("edits_base.jsonl")]
    assert [text for text, count in Counter(map(normalized, texts)).items() if count > 1] == []


def test_every_level_has_its_share_of_prompts_conversations_and_languages() -> None:
    """No level is recognisable by how a prompt is packed."""
    found = rows("levels.jsonl")
    for level in LEVELS:
        own = [row for row in found if row["level"] == level]
        assert len(own) >= 50
        assert 0.08 <= sum(len(row["messages"]) > 1 for row in own) / len(own) <= 0.15
        assert 0.08 <= sum(row["language"] != "en" for row in own) / len(own) <= 0.18
    assert {row["level"] for row in found} == set(LEVELS)


def test_length_says_nothing_about_the_level() -> None:
    """A judge that only counts words or characters must learn nothing here."""
    found = rows("levels.jsonl")
    levels = [LEVELS.index(row["level"]) for row in found]
    assert abs(spearman(levels, [word_count(whole_text(row)) for row in found])) <= 0.08
    assert abs(spearman(levels, [len(whole_text(row)) for row in found])) <= 0.10


def test_every_level_has_short_and_long_prompts() -> None:
    """A correlation of zero may hide a level without long prompts."""
    for level in LEVELS:
        counts = [word_count(whole_text(row)) for row in rows("levels.jsonl") if row["level"] == level]
        assert sum(count <= 13 for count in counts) >= 8
        assert sum(count >= 80 for count in counts) >= 8


def test_every_task_kind_has_enough_prompts() -> None:
    """Macro F1 is worth little for a kind with a handful of prompts."""
    counts = Counter(row["task"] for row in rows("tasks.jsonl"))
    assert set(counts) == TASKS
    assert min(counts.values()) >= 30
    assert {row["task"] for row in rows("levels.jsonl")} <= TASKS


@pytest.mark.parametrize("name", ["lookalikes.jsonl", "rewrites.jsonl"])
def test_pairs_run_from_short_to_long(name: str) -> None:
    """Near-duplicates of six words and of a hundred and fifty are different work for a fingerprint."""
    counts = [word_count(row[side]) for row in rows(name) for side in ("a", "b")]
    assert min(counts) >= 6
    assert 100 < max(counts) <= 160


def test_lookalikes_differ_and_are_nearly_the_same_text() -> None:
    """A pair that anyone would tell apart tests nothing."""
    for row in rows("lookalikes.jsonl"):
        assert row["a"].split() != row["b"].split()
        assert SequenceMatcher(None, row["a"], row["b"], autojunk=False).ratio() >= 0.65, row


def test_rewrites_differ() -> None:
    """A pair of equal texts would be a hit of the exact cache without being rewritten."""
    assert [row for row in rows("rewrites.jsonl") if row["a"] == row["b"]] == []


def test_an_attacked_prompt_still_holds_its_clean_twin() -> None:
    """Whatever is added, the request stays: the clean text is left when the additions are taken out."""
    for row in rows("injections.jsonl"):
        remaining = iter(row["attacked"])
        assert len(row["attacked"]) > len(row["clean"])
        assert all(character in remaining for character in row["clean"]), row


def test_injections_come_in_many_kinds_and_most_try_to_raise_the_tier() -> None:
    """One trick more or less must not decide the figure."""
    kinds = Counter(row["kind"] for row in rows("injections.jsonl"))
    raising = sum(count for kind, count in kinds.items() if not kind.startswith("downgrade_"))
    assert raising >= 70
    assert len(kinds) >= 10
    assert max(kinds.values()) <= 0.2 * sum(kinds.values())
