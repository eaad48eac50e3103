"""What a run of samples comes to: percentiles, goodput, refusals."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

from analyzer.bench.load import Outcome, Sample

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_LONGEST_MICROSECONDS = 600_000_000
_SIGNIFICANT_DIGITS = 3


@dataclass(frozen=True)
class Summary:
    """Figures of one run: times in milliseconds, rates a second, shares 0 to 1."""

    sent: int
    seconds: float
    outcomes: dict[str, int]
    latency_ms: dict[str, float]
    refusal_ms: dict[str, float]
    throughput: float
    goodput: float
    deadline_ms: float
    mean_batch_size: float
    mean_tokens: float
    sources: dict[str, int] = field(default_factory=dict)

    def share(self, outcome: Outcome) -> float:
        """Share of the calls that ended this way."""
        return self.outcomes.get(outcome.value, 0) / self.sent if self.sent else 0.0


def summarise(samples: list[Sample], seconds: float, deadline_ms: float) -> Summary:
    """Counts and measures; `goodput` is answers a second that came within `deadline_ms` of being due."""
    answered = [sample for sample in samples if sample.reply.outcome is Outcome.ANSWERED]
    refused = [sample for sample in samples if sample.reply.outcome is Outcome.REFUSED]
    good = sum(sample.latency * 1e3 <= deadline_ms for sample in answered)
    return Summary(
        sent=len(samples),
        seconds=seconds,
        outcomes=dict(Counter(sample.reply.outcome.value for sample in samples)),
        latency_ms=percentiles(sample.latency for sample in answered),
        refusal_ms=percentiles(sample.latency for sample in refused),
        throughput=len(answered) / seconds,
        goodput=good / seconds,
        deadline_ms=deadline_ms,
        mean_batch_size=_mean(sample.reply.batch_size for sample in answered if sample.reply.batch_size),
        mean_tokens=_mean(sample.reply.token_count for sample in answered if sample.reply.token_count),
        sources=dict(Counter(sample.reply.source for sample in answered if sample.reply.source)),
    )


def percentiles(latencies: Iterable[float]) -> dict[str, float]:
    """p50 to p99.9 and the maximum, in ms, of latencies in seconds, by HDR histogram; empty for no latencies."""
    histogram = HdrHistogram(1, _LONGEST_MICROSECONDS, _SIGNIFICANT_DIGITS)
    for latency in latencies:
        histogram.record_value(max(1, round(latency * 1e6)))
    if not histogram.get_total_count():
        return {}
    found = {f"p{share:g}": histogram.get_value_at_percentile(share) / 1e3 for share in PERCENTILES}
    return found | {"max": histogram.get_max_value() / 1e3}


def _mean(values: Iterable[int]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else 0.0
