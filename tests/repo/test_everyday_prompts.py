"""The everyday training prompts are well formed, all different, and their length does not give the level away."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "analyzer" / "training" / "data" / "everyday_prompts.jsonl"
LEVELS = ("trivial", "ordinary", "demanding", "expert")
TASKS = ("knowledge", "reasoning", "math", "coding", "writing", "extraction", "translation", "conversation", "other")
LAST_WORD_OF_LENGTH = {"very short": 8, "short": 25, "medium": 80, "long": 250}
CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")

Prompt = dict[str, Any]


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    """Every line, parsed."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def last_message(prompt: Prompt) -> str:
    """What the user asks now."""
    return str(prompt["messages"][-1]["content"])


def is_follow_up(prompt: Prompt) -> bool:
    """Whether the assistant has spoken before."""
    return any(message["role"] == "assistant" for message in prompt["messages"])


def word_count(text: str) -> int:
    """Words between blanks; a Chinese or Japanese character counts one half."""
    return len(CJK.sub(" ", text).split()) + len(CJK.findall(text)) // 2


def length_of(text: str) -> str:
    """The length's name."""
    words = word_count(text)
    return next(name for name, last in LAST_WORD_OF_LENGTH.items() if words <= last)


def ranks(values: list[int]) -> np.ndarray:
    """Ranks with ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(first: list[int], second: list[int]) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def test_there_are_enough(prompts: list[Prompt]) -> None:
    """At least 1,200."""
    assert len(prompts) >= 1200


def test_each_line_has_its_fields_and_no_others(prompts: list[Prompt]) -> None:
    """Fields, label values and identifiers are as the README says."""
    for number, prompt in enumerate(prompts, start=1):
        assert list(prompt) == ["id", "messages", "level", "task", "language", "rationale"]
        assert prompt["id"] == f"ev-{number:04d}"
        assert prompt["level"] in LEVELS, prompt["id"]
        assert prompt["task"] in TASKS, prompt["id"]
        assert re.fullmatch("[a-z]{2}", prompt["language"]), prompt["id"]
        assert prompt["rationale"].strip(), prompt["id"]


def test_conversations_are_in_order(prompts: list[Prompt]) -> None:
    """System first if any, then user and assistant by turns, the user last; no message is empty."""
    for prompt in prompts:
        for message in prompt["messages"]:
            assert list(message) == ["role", "content"], prompt["id"]
            assert message["content"].strip(), prompt["id"]
        roles = " ".join(message["role"] for message in prompt["messages"])
        assert re.fullmatch("(system )?(user assistant )*user", roles), prompt["id"]


def test_no_prompt_stands_twice(prompts: list[Prompt]) -> None:
    """Also not with other punctuation, spacing or capitals; a follow-up differs by its conversation."""
    seen: dict[str, str] = {}
    for prompt in prompts:
        text = "\n".join(message["content"] for message in prompt["messages"]).casefold()
        key = re.sub(r"[\W_]+", " ", text).strip() or text
        assert key not in seen, f"{prompt['id']} repeats {seen[key]}"
        seen[key] = prompt["id"]


def test_every_level_has_every_task_in_every_length(prompts: list[Prompt]) -> None:
    """No combination is missing, so that no pair of them gives the third away."""
    cells = Counter((p["level"], p["task"], length_of(last_message(p))) for p in prompts)
    for level in LEVELS:
        for task in TASKS:
            for length in LAST_WORD_OF_LENGTH:
                assert cells[level, task, length] >= 2, (level, task, length)


def test_levels_and_tasks_are_balanced(prompts: list[Prompt]) -> None:
    """Each level has 20 to 30 percent of the prompts, each task 7 to 15 percent."""
    levels = Counter(prompt["level"] for prompt in prompts)
    tasks = Counter(prompt["task"] for prompt in prompts)
    assert all(0.20 <= levels[level] / len(prompts) <= 0.30 for level in LEVELS), levels
    assert all(0.07 <= tasks[task] / len(prompts) <= 0.15 for task in TASKS), tasks


def test_length_does_not_give_the_level_away(prompts: list[Prompt]) -> None:
    """Neither the last message's words nor the whole conversation's rank the levels."""
    levels = [LEVELS.index(prompt["level"]) for prompt in prompts]
    last = [word_count(last_message(prompt)) for prompt in prompts]
    whole = [sum(word_count(message["content"]) for message in prompt["messages"]) for prompt in prompts]
    assert abs(spearman(levels, last)) <= 0.10
    assert abs(spearman(levels, whole)) <= 0.10


def test_form_does_not_give_the_level_away(prompts: list[Prompt]) -> None:
    """Every level has its share of follow-ups, of other languages, and some system prompts."""
    for level in LEVELS:
        at_level = [prompt for prompt in prompts if prompt["level"] == level]
        follow_ups = sum(is_follow_up(prompt) for prompt in at_level)
        foreign = sum(prompt["language"] != "en" for prompt in at_level)
        framed = sum(prompt["messages"][0]["role"] == "system" for prompt in at_level)
        assert 0.08 <= follow_ups / len(at_level) <= 0.16, level
        assert 0.10 <= foreign / len(at_level) <= 0.25, level
        assert framed >= 5, level
