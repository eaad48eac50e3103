"""One engine in a process of its own, answering `analyzer.bench.race` over pipes.

python -m analyzer.bench.contender ENGINE MODEL --threads N
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analyzer.bench.forward import Batch, Forward, Pass


def ctranslate2_tuned(model: Path, threads: int) -> Forward:
    """CTranslate2 as the analyzer serves with it."""
    from analyzer.adapters import runtime  # noqa: PLC0415 - has to come before ctranslate2 is loaded

    runtime.prepare()
    return ctranslate2_as_installed(model, threads)


def ctranslate2_as_installed(model: Path, threads: int) -> Forward:
    """CTranslate2 with nothing set but its threads."""
    import ctranslate2  # noqa: PLC0415 - loading it settles what the other engines must not see

    from analyzer.bench.shapes import HEAD_ROWS  # noqa: PLC0415 - loads the library's converter

    generator = ctranslate2.Generator(str(model), device="cpu", intra_threads=threads, inter_threads=1)

    def forward(batch: Batch) -> Pass:
        means = mean_over_positions(generator.forward_batch(batch))
        # A head of int8 rows comes in parts that are to be added: see analyzer.importing.output_layer.
        return Pass(means.reshape(len(batch), -1, HEAD_ROWS).sum(axis=1).tolist())

    return forward


def mean_over_positions(scores: Any) -> Any:
    """[prompts, tokens, rows] to [prompts, rows]."""
    import numpy as np  # noqa: PLC0415 - after the runtime is set up

    return np.asarray(scores).mean(axis=1)


ENGINES: dict[str, Callable[[Path, int], Forward]] = {
    "ctranslate2": ctranslate2_tuned,
    "ctranslate2-as-installed": ctranslate2_as_installed,
}


def load(name: str, model: Path, layers: int, threads: int) -> Forward:
    """The engine of that name; those of other projects are looked up only when asked for."""
    if name in ENGINES:
        return ENGINES[name](model, threads)
    from analyzer.bench.peers import PEERS  # noqa: PLC0415 - an optional group

    return PEERS[name](model, layers, threads)


def main() -> None:
    """Answers one line a batch until the pipe closes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("model", type=Path, help="a model folder; for engines of other projects, a GGUF file")
    parser.add_argument("--layers", type=int, default=0, help="layers of a GGUF file to keep")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not stand among the answers
    forward = load(args.engine, args.model, args.layers, args.threads)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(forward, json.loads(line))) + "\n")
        answers.flush()


def _answer(forward: Forward, question: dict[str, object]) -> dict[str, object]:
    ids: Batch = question["ids"]  # type: ignore[assignment]
    start = time.perf_counter()
    done = forward(ids)
    taken = (time.perf_counter() - start) * 1e3
    answer: dict[str, object] = {"ms": taken if done.milliseconds is None else done.milliseconds}
    return answer | {"output": done.scores} if question.get("output") else answer


if __name__ == "__main__":
    main()
