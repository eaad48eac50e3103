"""Prompts for measuring."""

from pathlib import Path

import pytest

from analyzer.bench.prompts import PromptSource, made_prompt, read_prompts


def test_a_file_may_mix_plain_lines_and_json(tmp_path: Path) -> None:
    """Both forms are read, blank lines are passed over."""
    path = tmp_path / "prompts.jsonl"
    path.write_text('What is a quine?\n\n{"prompt": "Add 2 and 2", "other": 1}\n')
    assert read_prompts(path) == ["What is a quine?", "Add 2 and 2"]


@pytest.mark.parametrize(("text", "said"), [("\n", "no prompts"), ('{"text": "x"}\n', ":1: expected")])
def test_a_file_without_prompts_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    """The message names the file, and the line where there is one."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_prompts(path)


def test_made_prompts_differ_and_have_the_length_asked_for() -> None:
    """A cache can't have seen them, and a run can be repeated."""
    prompts = [made_prompt(index, words=20) for index in range(500)]
    assert len(set(prompts)) == 500
    assert {len(prompt.split()) for prompt in prompts} == {20}
    assert made_prompt(7, 20) == made_prompt(7, 20)


def test_a_share_of_the_calls_repeats_earlier_prompts() -> None:
    """At 90 % repeats about a tenth of the prompts is new."""
    source = PromptSource(repeats=0.9)
    prompts = [source(index) for index in range(2000)]
    assert len(set(prompts)) == pytest.approx(200 + 32, rel=0.15)
    assert source(5) == source(5)
