"""Graded prompts are read, joined on one scale and split without leaks."""

import json
from pathlib import Path
from typing import Any

import pytest

from analyzer.analysis import Task
from analyzer.training.dataset import (
    AbilityPools,
    DataError,
    parse_prompt,
    question_position,
    read_conversations,
    read_prompts,
)

POOLS = AbilityPools(small=("s1", "s2"), frontier=("f",))


def write(path: Path, *rows: dict[str, Any]) -> Path:
    """Writes rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_models_become_the_outer_abilities() -> None:
    """Weak is SMALL, strong is FRONTIER, and the kind is the source."""
    prompt = parse_prompt({"prompt": "q", "weak": 0, "strong": 1, "domain": "law"}, "mmlu", POOLS)
    assert (prompt.small, prompt.frontier, prompt.kind, prompt.domain) == (0.0, 1.0, "mmlu", "law")


def test_many_models_are_averaged_over_the_pools() -> None:
    """Models outside the pools don't count."""
    prompt = parse_prompt({"prompt": "q", "scores": {"s1": 1.0, "s2": 0.5, "x": 0.0, "f": 1.0}}, "mix", POOLS)
    assert (prompt.small, prompt.frontier) == (0.75, 1.0)


def test_a_level_teaches_open_work_and_is_not_called_graded() -> None:
    """What a level stands for is an assumption, and never enters an evaluation of outcomes."""
    row = {"messages": [{"role": "USER", "content": "hi"}], "level": "trivial", "task": "conversation"}
    prompt = parse_prompt(row, "everyday", POOLS)
    assert (prompt.kind, prompt.graded, prompt.task) == ("open", False, Task.CONVERSATION)
    assert prompt.small is not None
    assert prompt.small > 0.9


def test_the_same_question_falls_in_the_same_part_whatever_was_added() -> None:
    """Instructions, case and spacing don't move a question across the split."""
    plain = question_position("How many pets do the three have?")
    asked = "How many  pets do the three have?\nAfter careful thought, put you final answer in \\boxed{...}."
    assert question_position(asked) == plain
    assert question_position("how many pets do the three have?\nAnswer:") == plain
    assert question_position("How many cats do the three have?") != plain


def test_about_a_fifth_is_kept_back() -> None:
    """The hash spreads evenly."""
    kept = sum(question_position(f"question {index}") < 0.2 for index in range(5000))
    assert kept == pytest.approx(1000, abs=100)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"weak": 1, "strong": 1}, "needs a 'prompt'"),
        ({"prompt": "q"}, "needs 'weak' and 'strong'"),
        ({"prompt": "q", "level": "easy"}, "unknown level 'easy'"),
        ({"prompt": "q", "scores": {"other": 1.0}}, "none of s1, s2 among the graded models other"),
        ({"prompt": "q", "weak": 2, "strong": 1}, "not between 0 and 1"),
        ({"messages": [{"role": "assistant", "content": "q"}], "level": "trivial"}, "the last one is the user's"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    """File and line come first."""
    path = write(tmp_path / "mine.jsonl", {"prompt": "good", "weak": 1, "strong": 1}, row)
    with pytest.raises(DataError, match=rf"mine.jsonl:2: .*{message}"):
        read_prompts([path], POOLS)


def test_the_faulty_subject_is_known() -> None:
    """It is reported on, and never trained on."""
    prompt = parse_prompt({"prompt": "q", "weak": 1, "strong": 0, "domain": "high_school_mathematics"}, "mmlu", POOLS)
    assert prompt.faulty


def test_conversations_are_read_from_text_or_messages(tmp_path: Path) -> None:
    """Pairs of prompts may be written either way."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    path = write(tmp_path / "pairs.jsonl", {"clean": "x"}, {"clean": turns})
    assert [len(conversation) for conversation in read_conversations(path, "clean")] == [1, 3]
