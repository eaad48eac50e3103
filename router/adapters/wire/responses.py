"""From the core's answers to messages."""

from google.protobuf.duration_pb2 import Duration
from tinyroute.router.v1 import router_pb2

from router.adapters.wire import enums
from router.answer import Answer, Attempt, Cost, Preview, Timings, Usage
from router.decision import Decision, TierEstimate

NANOS = 1_000_000_000


def duration(seconds: float | None) -> Duration | None:
    """A length of time; None stays unset. Never negative: clocks of one process don't run backwards."""
    if seconds is None:
        return None
    nanos = round(max(0.0, seconds) * NANOS)
    return Duration(seconds=nanos // NANOS, nanos=nanos % NANOS)


def decision(core: Decision) -> router_pb2.Decision:
    """The choice; without an analysis the complexity is 0.5 and the confidence 0, as the contract says."""
    analysis = core.analysis
    wire = router_pb2.Decision(
        tier=enums.TIER.to_wire(core.tier),
        backend=core.backend,
        cause=enums.CAUSE.to_wire(core.cause),
        analysis_source=router_pb2.ANALYSIS_SOURCE_NONE,
        complexity=0.5,
        considered=[tier_estimate(estimate) for estimate in core.considered],
        policy_revision=core.policy_revision,
        price_revision=core.price_revision,
        explanation=core.explanation,
    )
    for skipped in core.skipped_rungs:
        wire.skipped_rungs.add(rung=enums.RUNG.to_wire(skipped.rung), reason=enums.SKIP_REASON.to_wire(skipped.reason))
    if analysis is not None:
        wire.analysis_source = enums.SOURCE.to_wire(analysis.source)
        wire.complexity, wire.expected_gain = analysis.complexity, analysis.expected_gain
        wire.confidence, wire.truncated = analysis.confidence, analysis.truncated
        wire.task, wire.analyzer_revision = enums.TASK.to_wire(analysis.task), analysis.revision
    return wire


def tier_estimate(core: TierEstimate) -> router_pb2.TierEstimate:
    """What was predicted of one tier."""
    return router_pb2.TierEstimate(
        tier=enums.TIER.to_wire(core.tier),
        predicted_success=core.predicted_success,
        estimated_cost_micros=core.estimated_cost_micros,
        allowed=core.allowed,
        excluded_by=enums.EXCLUSION.to_wire(core.excluded_by),
    )


def attempt(core: Attempt) -> router_pb2.Attempt:
    """One call to a backend."""
    return router_pb2.Attempt(
        tier=enums.TIER.to_wire(core.tier),
        backend=core.backend,
        model=core.model,
        outcome=enums.ATTEMPT_OUTCOME.to_wire(core.outcome),
        duration=duration(core.duration),
        time_to_first_token=duration(core.time_to_first_token),
        usage=None if core.usage is None else usage(core.usage),
        cost_micros=core.cost_micros,
    )


def usage(core: Usage) -> router_pb2.Usage:
    """Tokens."""
    return router_pb2.Usage(
        input_token_count=core.input,
        output_token_count=core.output,
        cached_token_count=core.cached,
        reasoning_token_count=core.reasoning,
        estimated=core.estimated,
    )


def cost(core: Cost) -> router_pb2.Cost:
    """Money."""
    return router_pb2.Cost(
        total_micros=core.total_micros,
        analysis_micros=core.analysis_micros,
        top_tier_micros=core.top_tier_micros,
        saved_micros=core.saved_micros,
        cost_unknown=core.total_micros is None,
        estimated=core.estimated,
        price_revision=core.price_revision,
    )


def timings(core: Timings) -> router_pb2.RouteTimings:
    """Where the time went."""
    return router_pb2.RouteTimings(
        total=duration(core.total),
        analysis=duration(core.analysis),
        plan=duration(core.plan),
        dispatch=duration(core.dispatch),
        time_to_first_token=duration(core.time_to_first_token),
        analyzer_queue=duration(core.analyzer.queue),
        analyzer_tokenize=duration(core.analyzer.tokenize),
        analyzer_forward=duration(core.analyzer.forward),
    )


def route_response(answer: Answer) -> router_pb2.RouteResponse:
    """A whole answer."""
    return router_pb2.RouteResponse(
        request_id=answer.request_id,
        text=answer.text,
        finish_reason=enums.FINISH_REASON.to_wire(answer.finish_reason),
        decision=decision(answer.decision),
        attempts=[attempt(each) for each in answer.attempts],
        usage=usage(answer.usage),
        cost=cost(answer.cost),
        timings=timings(answer.timings),
        trace_id=answer.trace_id,
    )


def decide_response(preview: Preview) -> router_pb2.DecideResponse:
    """A decision alone."""
    return router_pb2.DecideResponse(
        request_id=preview.request_id,
        decision=decision(preview.decision),
        cost=cost(preview.cost),
        timings=timings(preview.timings),
    )


def last_piece(answer: Answer, decided: Decision | None) -> router_pb2.StreamRouteResponse:
    """The end of a stream. The decision comes once more if the answer came from elsewhere than `decided` said."""
    moved = decided is None or answer.decision.tier is not decided.tier
    return router_pb2.StreamRouteResponse(
        request_id=answer.request_id,
        decision=decision(answer.decision) if moved else None,
        finish_reason=enums.FINISH_REASON.to_wire(answer.finish_reason),
        usage=usage(answer.usage),
        cost=cost(answer.cost),
        attempts=[attempt(each) for each in answer.attempts],
        timings=timings(answer.timings),
    )
