"""The running account of one request: what happened, what it cost, and in the end its record."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from router.analysis import AnalyzerTimings
from router.answer import Answer, Cost, Preview, Timings
from router.cascade import Finding
from router.decision import Decision
from router.dispatch import Journey
from router.planning import Plan
from router.pricing import total_micros
from router.records import AnalysisRecord, AttemptRecord, RequestRecord
from router.request import RouteRequest, Tier
from router.terms import Terms


@dataclass
class Account:
    """Filled in as a request goes on; all times in seconds."""

    request: RouteRequest
    rpc: str
    terms: Terms
    finding: Finding = field(default_factory=Finding)
    plan: Plan | None = None
    journey: Journey | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    top_tier_micros: int | None = None

    def decision(self) -> Decision:
        """Returns the choice, with the backend that answered and the tier it moved to, if it did."""
        if self.plan is None:
            msg = "there is no decision before the plan"
            raise RuntimeError(msg)
        decision = self.plan.decision
        answered = self.journey.answered if self.journey else None
        if answered is None:
            return decision
        if answered.tier is decision.tier:
            return replace(decision, backend=answered.backend)
        moved = f"{decision.explanation} Moved to {answered.tier.name}: {decision.tier.name} did not answer."
        return replace(decision, tier=answered.tier, backend=answered.backend, explanation=moved)

    def answered_tier(self) -> Tier | None:
        """Returns the tier that answered; None while none has."""
        return self.journey.answered.tier if self.journey and self.journey.answered else None

    def total_micros(self) -> int | None:
        """Returns what analysis and attempts cost; None when a price is not known."""
        return total_micros(self.finding.cost_micros, self.journey.spent_micros if self.journey else 0)

    def count_top_tier(self, at: datetime) -> None:
        """Notes what the answer's tokens would have cost at the top tier."""
        model = self.terms.fleet.top_model()
        if self.journey is not None and self.journey.answered is not None and model is not None:
            self.top_tier_micros = self.terms.prices.price(self.journey.usage, model, at)

    def cost(self) -> Cost:
        """Returns the request's money."""
        attempts = self.journey.attempts if self.journey else ()
        return Cost(
            total_micros=self.total_micros(),
            analysis_micros=self.finding.cost_micros or 0,
            top_tier_micros=self.top_tier_micros,
            estimated=any(attempt.usage is not None and attempt.usage.estimated for attempt in attempts),
            price_revision=self.terms.prices.revision,
        )

    def timings(self) -> Timings:
        """Returns the request's time; the first token's counts from arrival."""
        return Timings(
            total=self.seconds.get("total", 0.0),
            analysis=self.seconds.get("analysis"),
            plan=self.seconds.get("plan"),
            dispatch=self.seconds.get("dispatch"),
            time_to_first_token=self._first_token(),
            analyzer=self.finding.analysis.timings if self.finding.analysis else AnalyzerTimings(),
        )

    def _first_token(self) -> float | None:
        """Returns the first token's time since arrival: all that came before the attempt that answered, and its own."""
        answered = self.journey.answered if self.journey else None
        if self.journey is None or answered is None or answered.time_to_first_token is None:
            return None
        before = sum(attempt.duration for attempt in self.journey.attempts if attempt is not answered)
        planned = self.seconds.get("analysis", 0.0) + self.seconds.get("plan", 0.0)
        return planned + before + answered.time_to_first_token

    def answer(self) -> Answer:
        """Returns the whole answer of a request that got one."""
        if self.journey is None:
            msg = "there is no answer before the dispatch"
            raise RuntimeError(msg)
        return Answer(
            request_id=self.request.request_id,
            text=self.journey.text,
            finish_reason=self.journey.finish_reason,
            decision=self.decision(),
            attempts=self.journey.attempts,
            usage=self.journey.usage,
            cost=self.cost(),
            timings=self.timings(),
        )

    def preview(self) -> Preview:
        """Returns what a caller of Decide is told."""
        return Preview(self.request.request_id, self.decision(), self.cost(), self.timings())

    def record(self, status: str, reason: str, time: datetime) -> RequestRecord:
        """Returns the ledger's rows."""
        request = self.request
        record = RequestRecord(
            request_id=request.request_id,
            tenant=request.tenant,
            rpc=self.rpc,
            time=time.isoformat(),
            status=status,
            reason=reason,
            team=request.attribution.team,
            feature=request.attribution.feature,
            labels=dict(request.attribution.labels),
            session_id=request.session_id,
            policy_revision=self.terms.policy.revision,
            price_revision=self.terms.prices.revision,
            cost_micros=self.total_micros(),
            top_tier_micros=self.top_tier_micros,
            analysis=analysis_record(self.finding),
            timings=self._all_timings(),
        )
        return self._with_journey(self._with_choice(record))

    def _with_choice(self, record: RequestRecord) -> RequestRecord:
        if self.plan is None:
            return record
        decision = self.plan.decision
        return replace(
            record,
            decided_tier=int(decision.tier),
            cause=decision.cause.value,
            predicted_success={each.tier.name: each.predicted_success for each in decision.considered},
            estimated_costs={each.tier.name: each.estimated_cost_micros for each in decision.considered},
        )

    def _with_journey(self, record: RequestRecord) -> RequestRecord:
        if self.journey is None:
            return record
        answered = self.journey.answered
        return replace(
            record,
            finish_reason=self.journey.finish_reason.value,
            tier=int(answered.tier) if answered else None,
            backend=answered.backend if answered else "",
            attempts=tuple(AttemptRecord.of(attempt) for attempt in self.journey.attempts),
        )

    def _all_timings(self) -> dict[str, float | None]:
        analyzer = self.timings().analyzer
        return {
            **self.seconds,
            "first_token": self._first_token(),
            "analyzer_queue": analyzer.queue,
            "analyzer_tokenize": analyzer.tokenize,
            "analyzer_forward": analyzer.forward,
        }


def analysis_record(finding: Finding) -> AnalysisRecord:
    """Returns what the ledger keeps of an analysis, or of there being none."""
    skipped = tuple((skip.rung.value, skip.reason.value) for skip in finding.skipped)
    analysis = finding.analysis
    if analysis is None:
        return AnalysisRecord(cost_micros=finding.cost_micros, skipped=skipped)
    return AnalysisRecord(
        source=analysis.source.value,
        success=analysis.success,
        confidence=analysis.confidence,
        task=analysis.task.value,
        revision=analysis.revision,
        prompt_tokens=analysis.prompt_token_count,
        expected_output_tokens=analysis.expected_output_tokens,
        cost_micros=finding.cost_micros,
        skipped=skipped,
    )
