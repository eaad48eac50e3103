"""Writes what a head predicts of graded prompts, for `test_savings.py`: the router's tests don't import the analyzer.

    python tests/bench/savings_predictions.py --revision FOLDER --data graded.jsonl --out predictions.jsonl

A line out is `{prompt, success: [small, medium, frontier], confidence, task, scores}`. Only prompts of the validation
part are written: the head was not fitted on them.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analyzer.adapters.modelstore import Revision
from analyzer.analysis import Ability
from analyzer.framing import FrameParameters
from analyzer.judging import Calibration, HeadJudge
from analyzer.manifest import Manifest
from analyzer.training.dataset import VALIDATION_SHARE, TextMessage, question_position
from analyzer.training.engine import PooledEngine


def validation_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the graded prompts that nothing was fitted on."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return [row for row in rows if question_position(row["prompt"]) < VALIDATION_SHARE]


def predictions(revision: Revision, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the rows with what the head says of them."""
    manifest = revision.manifest
    engine = PooledEngine(revision.path, manifest, manifest.output)
    judge = HeadJudge(Calibration.model_validate(manifest.calibration))
    frame = manifest.frame
    parameters = FrameParameters(**{name: getattr(frame, name) for name in FrameParameters.__dataclass_fields__})
    frames = [engine.frame([TextMessage("user", row["prompt"])], parameters) for row in rows]
    pooled = engine.pooled([each.token_ids for each in frames])
    for row, each, scores in zip(rows, frames, pooled, strict=True):
        analysis = judge.judge(scores.tolist(), each)
        task = max(analysis.task_probabilities, key=lambda name: analysis.task_probabilities[name])
        success = [analysis.success[ability] for ability in Ability]
        yield {
            "prompt": row["prompt"],
            "success": success,
            "confidence": analysis.confidence,
            "task": task.value.upper(),
            "scores": row["scores"],
        }


def main() -> None:
    """Reads arguments and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revision", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = Manifest.model_validate_json((arguments.revision / "manifest.json").read_bytes())
    revision = Revision(arguments.revision, manifest)
    rows = validation_rows(arguments.data)
    with arguments.out.open("w", encoding="utf-8") as out:
        for line in predictions(revision, rows):
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
