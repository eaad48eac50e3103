"""The two races people run: depths of one model, and engines at one depth."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyzer.bench.race import Contender, Shape, race, running
from analyzer.bench.shapes import write_depth

LIMIT_MS = 100.0
REFERENCE = "onnxruntime-float32"
PEERS = ("openvino-int8-weights", "openvino-int8", "onnxruntime-int8", "llamacpp-q8_0")
RACE_SHAPES = (Shape(16), Shape(64), Shape(128), Shape(192), Shape(64, prompts=8))
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Model:
    """A converted model to cut to depths: its folder, hidden width and vocabulary size."""

    folder: Path
    width: int
    vocabulary: int


@dataclass(frozen=True)
class DepthRow:
    """One depth at one number of threads: median and worst milliseconds by tokens of the prompt."""

    layers: int
    threads: int
    median_ms: Mapping[int, float]
    worst_ms: Mapping[int, float]

    def holds(self, limit_ms: float = LIMIT_MS) -> int:
        """The longest measured prompt, in tokens, whose worst time stays within the limit; 0 when none does."""
        return max((tokens for tokens, worst in self.worst_ms.items() if worst <= limit_ms), default=0)


@dataclass(frozen=True)
class Depths:
    """What a race of depths is to measure."""

    layers: Sequence[int]
    threads: Sequence[int]
    tokens: Sequence[int]
    rounds: int = 20


def race_depths(model: Model, depths: Depths, scratch: Path, progress: Progress) -> list[DepthRow]:
    """Times every depth at every number of threads, one depth after another so that memory holds only one."""
    rows = []
    shapes = [Shape(tokens) for tokens in depths.tokens]
    for done, layers in enumerate(depths.layers):
        cut = write_depth(model.folder, scratch / f"{layers}-layers", layers, model.width)
        contenders = [Contender(str(threads), "ctranslate2", cut, threads) for threads in depths.threads]
        times = race(contenders, shapes, rounds=depths.rounds, vocabulary=model.vocabulary)
        rows += [_depth_row(layers, threads, times[str(threads)]) for threads in depths.threads]
        progress(done + 1, len(depths.layers))
    return rows


def _depth_row(layers: int, threads: int, times: Mapping[Shape, list[float]]) -> DepthRow:
    medians = {shape.tokens: statistics.median(found) for shape, found in times.items()}
    return DepthRow(layers, threads, medians, {shape.tokens: max(found) for shape, found in times.items()})


@dataclass(frozen=True)
class EngineRow:
    """One engine: median milliseconds by shape, the tuned engine's time as a share of it, and its cosine to float32."""

    name: str
    median_ms: Mapping[Shape, float]
    ratio: Mapping[Shape, float]
    cosine: float | None = None


def race_engines(contenders: Sequence[Contender], vocabulary: int, rounds: int, progress: Progress) -> list[EngineRow]:
    """Times engines of the same weights interleaved; the first one is what the others are compared with."""
    times = race(contenders, RACE_SHAPES, rounds=rounds, vocabulary=vocabulary, progress=progress)
    medians = {name: {shape: statistics.median(found) for shape, found in row.items()} for name, row in times.items()}
    base = medians[contenders[0].name]
    cosines = _cosines(contenders, vocabulary)
    return [
        EngineRow(name, row, {shape: base[shape] / row[shape] for shape in row}, cosines.get(name))
        for name, row in medians.items()
    ]


def contenders_for(cut: Path, gguf: Path | None, layers: int, threads: int) -> list[Contender]:
    """Ours tuned and as installed, and with a GGUF file of the same weights those of other projects."""
    ours = [
        Contender("tuned", "ctranslate2", cut, threads),
        Contender("as installed", "ctranslate2-as-installed", cut, threads),
    ]
    peers = [Contender(name, name, gguf, threads, layers) for name in (*PEERS, REFERENCE)] if gguf else []
    return ours + peers


def _cosines(contenders: Sequence[Contender], vocabulary: int) -> dict[str, float]:
    """Cosine of each engine's scores over eight prompts to the float32 reference's, where that one runs."""
    ids = [[(7919 * (row * 40 + column)) % (vocabulary - 10) + 10 for column in range(40)] for row in range(8)]
    scores: dict[str, list[float]] = {}
    if not any(contender.name == REFERENCE for contender in contenders):
        return {}
    for contender in contenders:
        with running(contender) as lane:
            scores[contender.name] = lane.scores(ids)
    reference = scores[REFERENCE]
    return {name: _cosine(found, reference) for name, found in scores.items() if found}


def _cosine(left: list[float], right: list[float]) -> float:
    product = sum(one * other for one, other in zip(left, right, strict=True))
    return product / (math.hypot(*left) * math.hypot(*right))
