"""Times several engines against each other, interleaved: only ratios within one run mean anything on a shared machine.

Each contender is a process of its own, because threads, OpenMP runtime and instruction set are settled when a library
loads. It reads one JSON line a batch, `{"ids": [[…], …]}`, and answers with one, `{"ms": …}`.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO


@dataclass(frozen=True)
class Shape:
    """A batch to time: so many prompts of so many tokens each."""

    tokens: int
    prompts: int = 1

    def __str__(self) -> str:
        return f"{self.prompts} x {self.tokens}" if self.prompts > 1 else str(self.tokens)


@dataclass(frozen=True)
class Contender:
    """An engine to time: a name for the table, what `analyzer.bench.contender` is to run, and its environment."""

    name: str
    engine: str
    model: Path
    threads: int = 1
    layers: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


REST_SECONDS = 0.03

Times = dict[str, dict[Shape, list[float]]]


class ContenderFailedError(Exception):
    """A contender's process ended; the message holds the last line it said."""


class Lane:
    """A running contender."""

    def __init__(self, contender: Contender, process: "subprocess.Popen[str]", said: IO[str]) -> None:
        self.contender = contender
        self._process = process
        self._said = said

    def __repr__(self) -> str:
        return f"Lane({self.contender.name}, pid {self._process.pid})"

    def ask(self, **question: object) -> dict[str, object]:
        """One question, one answer; raises ContenderFailedError when the process is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ContenderFailedError(f"{self!r} has no pipes")
        try:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it ended: reading says so below
        line = stdout.readline()
        if not line:
            raise ContenderFailedError(f"{self.contender.name} ended: {self._last_words()}")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ContenderFailedError(f"{self.contender.name} answered {line.strip()!r}")
        return answer

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.wait(5)}"

    def scores(self, ids: list[list[int]]) -> list[float]:
        """The mean head scores of a batch, one prompt's after another's; empty where the engine gives none."""
        found = self.ask(ids=ids, output=True)["output"]
        return [float(value) for row in found for value in row] if isinstance(found, list) else []

    def milliseconds(self, ids: list[list[int]]) -> float:
        """The time of one forward pass over the batch, after one that is not counted.

        Threads of the contender before may still spin for some milliseconds, and those of this one are asleep.
        """
        time.sleep(REST_SECONDS)
        self.ask(ids=ids)
        return float(str(self.ask(ids=ids)["ms"]))


@contextmanager
def running(contender: Contender) -> Iterator[Lane]:
    """Starts a contender's process and ends it afterwards."""
    command = [sys.executable, "-m", "analyzer.bench.contender", contender.engine, str(contender.model)]
    command += ["--threads", str(contender.threads), "--layers", str(contender.layers)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(contender.threads), **contender.environment}
    pipe = subprocess.PIPE
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=pipe, stdout=pipe, stderr=said, text=True, env=environment
        ) as process,
    ):
        try:
            yield Lane(contender, process, said)
        finally:
            process.kill()


def race(
    contenders: Sequence[Contender],
    shapes: Sequence[Shape],
    *,
    rounds: int,
    vocabulary: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Times:
    """Milliseconds of each forward pass by contender and shape, over `rounds` interleaved rounds.

    Two rounds before them warm every contender up and are not counted.
    """
    dice = random.Random(0)
    times: Times = {c.name: {shape: [] for shape in shapes} for c in contenders}
    with ExitStack() as stack:
        lanes = [stack.enter_context(running(contender)) for contender in contenders]
        for turn in range(-2, rounds):
            for shape in shapes:
                ids = [[dice.randrange(10, vocabulary) for _ in range(shape.tokens)] for _ in range(shape.prompts)]
                for lane in dice.sample(lanes, len(lanes)):
                    taken = lane.milliseconds(ids)
                    if turn >= 0:
                        times[lane.contender.name][shape].append(taken)
            progress(turn + 3, rounds + 2)
    return times
