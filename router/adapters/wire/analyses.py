"""From the analyzer's answer to the core's analysis."""

import math
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as WireMessage
from tinyroute.analyzer.v1 import analyzer_pb2

from router.adapters.wire import enums
from router.analysis import Analysis, AnalysisSource, AnalyzerTimings, Task

ABILITIES = (analyzer_pb2.ABILITY_SMALL, analyzer_pb2.ABILITY_MEDIUM, analyzer_pb2.ABILITY_FRONTIER)
SLACK = 1e-9
"""Rounding that a probability or an order of probabilities may be off by."""


class MalformedAnalysis(Exception):
    """The analyzer's answer breaks its contract; the message says where."""


def analysis(wire: analyzer_pb2.Analysis) -> Analysis:
    """The core's analysis. Raises MalformedAnalysis rather than deciding on nonsense."""
    return Analysis(
        success=success(wire.success),
        confidence=probability(wire.confidence, "confidence"),
        source=enums.ANALYZER_SOURCE.to_core(wire.source) or AnalysisSource.MODEL,
        task=enums.TASK.to_core(wire.task) or Task.UNSPECIFIED,
        expected_output_tokens=max(0, wire.expected_output_tokens),
        prompt_token_count=max(0, wire.prompt_token_count),
        truncated=wire.truncated,
        revision=wire.model_revision,
        timings=timings(wire.timings),
    )


def success(wire: Sequence[analyzer_pb2.AbilitySuccess]) -> tuple[float, float, float]:
    """Predicted success, weakest ability first: three of them, each a probability, never decreasing."""
    if tuple(entry.ability for entry in wire) != ABILITIES:
        raise MalformedAnalysis("success has to name the three reference abilities, weakest first")
    small, medium, frontier = (probability(entry.probability, "success") for entry in wire)
    if not small <= medium + SLACK or not medium <= frontier + SLACK:
        raise MalformedAnalysis("success decreases with ability")
    return small, max(small, medium), max(small, medium, frontier)


def probability(value: float, name: str) -> float:
    """`value` when it is one."""
    if not math.isfinite(value) or not -SLACK <= value <= 1 + SLACK:
        raise MalformedAnalysis(f"{name} is no probability")
    return min(1.0, max(0.0, value))


def timings(wire: analyzer_pb2.AnalysisTimings) -> AnalyzerTimings:
    """Where the analyzer's time went."""
    return AnalyzerTimings(
        queue=seconds(wire, "queue"), tokenize=seconds(wire, "tokenize"), forward=seconds(wire, "forward")
    )


def seconds(wire: WireMessage, field: str) -> float | None:
    """A length of time in seconds; None when unset."""
    if not wire.HasField(field):
        return None
    value: Duration = getattr(wire, field)
    return value.seconds + value.nanos / 1e9
