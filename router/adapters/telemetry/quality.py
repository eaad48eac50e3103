"""How good the choices were: predicted, reported and compared; and requests that got no answer, by reason."""

from typing import Protocol

from opentelemetry.metrics import Meter
from opentelemetry.trace import Tracer
from tinyroute.router.v1 import router_pb2

from router import attributes
from router.observer import Decided, Observer, Settled, ShadowJudged

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0)


class QualityObserver(Observer):
    """Hears of choices, ends and comparisons."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._failures = meter.create_counter(
            "tinyroute.router.failures", "1", "Requests let in that got no answer, by status and reason."
        )
        self._predicted = meter.create_histogram(
            "tinyroute.router.predicted_success",
            "1",
            "Predicted success of the tier that was chosen.",
            explicit_bucket_boundaries_advisory=SHARES,
        )
        self._shadows = meter.create_counter(
            "tinyroute.router.shadow.comparisons", "1", "Shadow comparisons, by whether the answers agree."
        )

    def decided(self, fact: Decided) -> None:
        """Records what was predicted of the chosen tier; without an analysis nothing was."""
        decision = fact.decision
        if decision.analysis is None:
            return
        for estimate in decision.considered:
            if estimate.tier is decision.tier:
                self._predicted.record(estimate.predicted_success, {attributes.TIER: estimate.tier.name})

    def settled(self, fact: Settled) -> None:
        """Counts a request that ended in an error."""
        record = fact.record
        if record.reason:
            told = {attributes.RPC: record.rpc, attributes.STATUS: record.status, attributes.REASON: record.reason}
            self._failures.add(1, told)

    def shadow_judged(self, fact: ShadowJudged) -> None:
        """Counts it, and leaves a span without length in the request's trace: sampling keeps those that disagree."""
        outcome = "AGREE" if fact.agrees else "DISAGREE"
        self._tracer.start_span("shadow", attributes={attributes.SHADOW: outcome, attributes.SCORE: fact.score}).end()
        self._shadows.add(1, {attributes.SHADOW: outcome})


class Outcomes(Protocol):
    """Takes verdicts."""

    async def report(self, tenant: str, report: router_pb2.ReportOutcomeRequest) -> bool:
        """Keeps a verdict; whether it replaced one."""
        ...


class CountedOutcomes:
    """Verdicts as another takes them, and the scores of those that were taken as a metric."""

    def __init__(self, outcomes: Outcomes, meter: Meter) -> None:
        self._outcomes = outcomes
        self._scores = meter.create_histogram(
            "tinyroute.router.reported_quality",
            "1",
            "Scores that callers reported, 0 to 1.",
            explicit_bucket_boundaries_advisory=SHARES,
        )

    async def report(self, tenant: str, report: router_pb2.ReportOutcomeRequest) -> bool:
        """As the other does."""
        replaced = await self._outcomes.report(tenant, report)
        good = report.verdict == router_pb2.VERDICT_GOOD
        self._scores.record(float(good) if report.HasField("verdict") else report.score)
        return replaced
