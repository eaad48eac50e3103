"""Training files from checkouts laid out like the public repositories."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzer.cli.data import data
from analyzer.training.dataset import DataError
from analyzer.training.sources import llmrouter_mixed, routellm_mmlu


def routellm(root: Path) -> Path:
    """Lays out two questions, one of them contaminated."""
    responses = root / "routellm/evals/mmlu/responses"
    responses.mkdir(parents=True)
    (responses / "mmlu_anatomy.csv").write_text(
        'prompt,mixtral-8x7b-instruct-v0.1,gpt-4-1106-preview\n"Where, then?\nA. here",False,True\nseen,True,True\n'
    )
    (root / "routellm/evals/mmlu/contaminated_prompts.jsonl").write_text(json.dumps({"eval_prompt": "seen"}) + "\n")
    gsm8k = root / "routellm/evals/gsm8k"
    gsm8k.mkdir()
    (gsm8k / "gsm8k_responses.csv").write_text(
        "prompt,mistralai/Mixtral-8x7B-Instruct-v0.1,gpt-4-1106-preview\n1+1?,True,True\n"
    )
    return root


def test_outcomes_of_two_models_are_read_and_contaminated_prompts_left_out(tmp_path: Path) -> None:
    """The subject is in the file's name."""
    rows = list(routellm_mmlu(routellm(tmp_path)))
    assert rows == [{"prompt": "Where, then?\nA. here", "weak": 0, "strong": 1, "domain": "anatomy"}]


def test_lines_a_model_are_joined_to_one_prompt(tmp_path: Path) -> None:
    """Query by query, whatever the order of the lines."""
    lines = [("q", "a", 1.0), ("r", "a", 0.0), ("q", "b", 0.5)]
    (tmp_path / "default_routing_train_data.jsonl").write_text(
        "".join(json.dumps({"query": q, "model_name": m, "performance": p}) + "\n" for q, m, p in lines)
    )
    assert next(llmrouter_mixed(tmp_path)) == {"prompt": "q", "scores": {"a": 1.0, "b": 0.5}}


def test_another_folder_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    """Nothing is written for a folder that is no checkout."""
    with pytest.raises(DataError, match=r"is .* a checkout of RouteLLM"):
        list(routellm_mmlu(tmp_path))


def test_the_command_writes_one_file_a_source(tmp_path: Path) -> None:
    """And says how many prompts each holds."""
    checkout = routellm(tmp_path / "checkout")
    result = CliRunner().invoke(data, ["build", "--routellm", str(checkout), "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "gsm8k_two_models.jsonl",
        "mmlu_two_models.jsonl",
    ]
    assert "mmlu_two_models.jsonl: 1 prompts" in result.output


def test_the_command_without_a_checkout_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2, naming the options."""
    result = CliRunner().invoke(data, ["build", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "--routellm" in result.output
