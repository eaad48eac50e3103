"""Training files from checkouts of the public repositories that graded the prompts.

RouteLLM (Apache-2.0): `routellm/evals/mmlu/responses/mmlu_*.csv` and `routellm/evals/gsm8k/gsm8k_responses.csv`, a
prompt and two models' True or False; its lists of contaminated prompts are left out.
LLMRouter (MIT): `default_routing_{train,test}_data.jsonl`, a line a query and model with its `performance`.
Arena-Hard (Apache-2.0): `data/arena-hard-v0.1/question.jsonl`, prompts chosen by others for being hard.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analyzer.training.dataset import DataError

Row = dict[str, Any]

_ROUTELLM = Path("routellm/evals")
_MMLU_PREFIX = "mmlu_"
_LLMROUTER_FILES = ("default_routing_train_data.jsonl", "default_routing_test_data.jsonl")
_ARENA_HARD = ("data/arena-hard-v0.1/question.jsonl", "src/arenahard/data/arena-hard-v0.1/question.jsonl")


def routellm_mmlu(checkout: Path) -> Iterator[Row]:
    """Yields rows of the MMLU outcomes, each with its subject as `domain`."""
    folder = checkout / _ROUTELLM / "mmlu"
    files = sorted((folder / "responses").glob(f"{_MMLU_PREFIX}*.csv"))
    if not files:
        raise DataError(f"{folder / 'responses'} holds no {_MMLU_PREFIX}*.csv; is {checkout} a checkout of RouteLLM?")
    contaminated = _contaminated(folder)
    for file in files:
        for row in _two_models(file, contaminated):
            yield row | {"domain": file.stem.removeprefix(_MMLU_PREFIX)}


def routellm_gsm8k(checkout: Path) -> Iterator[Row]:
    """Yields rows of the GSM8K outcomes."""
    folder = checkout / _ROUTELLM / "gsm8k"
    file = folder / "gsm8k_responses.csv"
    if not file.is_file():
        raise DataError(f"{file} is missing; is {checkout} a checkout of RouteLLM?")
    yield from _two_models(file, _contaminated(folder))


def llmrouter_mixed(checkout: Path) -> Iterator[Row]:
    """Yields one row a query with the outcomes of all models; queries are joined by their text."""
    files = [path for name in _LLMROUTER_FILES for path in sorted(checkout.rglob(name))]
    if not files:
        raise DataError(f"no {_LLMROUTER_FILES[0]} below {checkout}; is it a checkout of LLMRouter with its data?")
    scores: dict[str, dict[str, float]] = {}
    for file in files:
        for row in _json_lines(file):
            if row.get("performance") is not None:
                scores.setdefault(row["query"], {})[row["model_name"]] = float(row["performance"])
    for query, by_model in scores.items():
        yield {"prompt": query, "scores": by_model}


def arena_hard(checkout: Path) -> Iterator[Row]:
    """Yields the first turn of each hard prompt, labelled `hard`."""
    file = next((checkout / name for name in _ARENA_HARD if (checkout / name).is_file()), None)
    if file is None:
        raise DataError(f"{checkout / _ARENA_HARD[0]} is missing; is it a checkout of Arena-Hard?")
    for row in _json_lines(file):
        if row.get("turns"):
            turn = row["turns"][0]
            yield {"prompt": turn["content"] if isinstance(turn, dict) else turn, "label": "hard"}
        else:
            yield {"prompt": row["prompt"], "label": "hard"}


def write_rows(rows: Iterator[Row] | Sequence[Row], path: Path) -> int:
    """Writes a data file and returns how many prompts it holds."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _two_models(file: Path, contaminated: frozenset[str]) -> Iterator[Row]:
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        weak = next((name for name in columns if "mixtral" in name.lower()), None)
        strong = next((name for name in columns if "gpt-4" in name.lower()), None)
        if weak is None or strong is None or "prompt" not in columns:
            raise DataError(f"{file}: expected the columns prompt, mixtral…, gpt-4…, found {', '.join(columns)}")
        for row in reader:
            if row["prompt"] not in contaminated:
                yield {"prompt": row["prompt"], "weak": int(row[weak] == "True"), "strong": int(row[strong] == "True")}


def _contaminated(folder: Path) -> frozenset[str]:
    file = folder / "contaminated_prompts.jsonl"
    return frozenset(row["eval_prompt"] for row in _json_lines(file)) if file.is_file() else frozenset()


def _json_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"{file}:{number}: {error}") from error
