"""From a fitted head to a revision that serves: the head file, its golden prompts, and a check of the served path."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from analyzer.adapters.modelstore import ModelStore, Revision
from analyzer.framing import FrameParameters
from analyzer.importing.heads import Head, attach, encode_rows
from analyzer.importing.output_layer import with_output
from analyzer.manifest import GoldenPrompt, PromptFrame
from analyzer.training.dataset import TextMessage
from analyzer.training.engine import Matrix, PooledEngine
from analyzer.training.fit import FittedHead

GOLDEN_PROMPTS = (
    "Hi there!",
    "What is the capital of Australia?",
    "Translate to Spanish: the train leaves at noon.",
    "A train covers 180 km in 2.5 hours and then 90 km in 1.5 hours. What is its average speed over the whole trip?",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Which of the following is a noble gas?\nA. Nitrogen\nB. Argon\nC. Chlorine\nD. Oxygen\nAnswer:",
    "Design a payment system that settles across three regions, survives the loss of one, and never pays twice.",
    "Fasse die Vor- und Nachteile der Wärmepumpe in drei Sätzen zusammen.",
)

# What a score may differ from the training path's: the output rows are stored as two int8 rows each.
SCORE_TOLERANCE = 0.05


class ServedScoresDifferError(RuntimeError):
    """The converted head gives other scores than the ones it was trained to give."""


def make_head(
    fitted: FittedHead,
    base: Revision,
    *,
    name: str,
    layers: int | None,
    parameters: FrameParameters,
    evaluation: dict[str, JsonValue],
    how_trained: str,
) -> Head:
    """Returns the head file, its golden scores taken from the path that serves.

    Raises ServedScoresDifferError when quantising the rows changed what they say.
    """
    rows = fitted.rows.astype(np.float32)
    golden, instruction_set = _golden(rows, base, layers, parameters)
    return Head(
        revision=name,
        base_sha256=base.manifest.base.sha256 or "",
        layers=layers or base.manifest.architecture.layers_kept,
        width=base.manifest.architecture.width,
        quantization=base.manifest.quantization,
        instruction_set=instruction_set,
        frame=PromptFrame.of(parameters),
        rows=encode_rows(rows),
        calibration=fitted.calibration.model_dump(mode="json"),
        evaluation=evaluation,
        golden=golden,
        how_trained=how_trained,
    )


def store_head(store: ModelStore, base: Revision, head: Head) -> Revision:
    """Returns the new revision made of base and head."""
    return attach(store, base, head)


def _golden(
    rows: Matrix, base: Revision, layers: int | None, parameters: FrameParameters
) -> tuple[tuple[GoldenPrompt, ...], str]:
    with tempfile.TemporaryDirectory() as folder:
        output = with_output(base.path, Path(folder), rows, kind="rows", layers=layers)
        engine = PooledEngine(Path(folder), base.manifest, output)
        scores = engine.pooled(_framed(engine, parameters))
    golden = tuple(
        GoldenPrompt(prompt=prompt, scores=tuple(round(float(score), 5) for score in line))
        for prompt, line in zip(GOLDEN_PROMPTS, scores, strict=True)
    )
    return golden, engine.instruction_set


def check_served_scores(
    hidden: PooledEngine, rows: Matrix, golden: Sequence[GoldenPrompt], frame: FrameParameters
) -> float:
    """Returns the largest difference between golden scores and rows applied to hidden states, in score units."""
    expected = hidden.pooled(_framed(hidden, frame)) @ rows.T
    served = np.array([prompt.scores for prompt in golden])
    difference = float(np.abs(expected - served).max())
    if difference > SCORE_TOLERANCE:
        raise ServedScoresDifferError(
            f"the converted head is off by {difference:.3f} from the one that was trained; limit {SCORE_TOLERANCE}"
        )
    return difference


def _framed(engine: PooledEngine, parameters: FrameParameters) -> list[tuple[int, ...]]:
    return [engine.frame([TextMessage("user", prompt)], parameters).token_ids for prompt in GOLDEN_PROMPTS]
