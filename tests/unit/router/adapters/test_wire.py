"""Wire and core say the same, in both directions."""

import uuid
from dataclasses import replace

import pytest
from tinyroute.router.v1 import router_pb2

from router.adapters.wire import enums, requests, responses
from router.analysis import Analysis, AnalysisSource, Rung, SkippedRung, SkipReason, Task
from router.answer import Attempt, AttemptOutcome, Cost, Timings, Usage
from router.decision import Cause, Decision, Exclusion, TierEstimate
from router.request import Attribution, Constraints, Criticality, Generation, Message, ResponseFormatType, Role, Tier

ALL = {name: each for name, each in vars(enums).items() if isinstance(each, enums.EnumMap)}


@pytest.mark.parametrize("name", ALL)
def test_every_wire_value_has_a_member_and_comes_back(name: str) -> None:
    """All but "unspecified", which is None where the core has no such member."""
    mapping = ALL[name]
    for value in mapping.descriptor.values:
        member = mapping.to_core(value.number)
        if value.number:
            assert member is not None
            assert value.name.endswith(member.name)
        assert mapping.to_wire(member) == value.number


@pytest.mark.parametrize("name", set(ALL) - {"ANALYZER_SOURCE"})
def test_every_member_has_a_wire_value(name: str) -> None:
    """Nothing the core decides is lost on the way out (of the analyzer only some sources come in)."""
    mapping = ALL[name]
    for member in mapping.core:
        assert mapping.to_core(mapping.to_wire(member)) is member


def test_a_number_of_a_later_version_is_none() -> None:
    """It does not break this one."""
    assert enums.TIER.to_core(99) is None


def test_a_full_request_is_understood() -> None:
    """Each field under its own name."""
    wire = router_pb2.RouteRequest(
        request_id="r-1",
        messages=[{"role": "ROLE_SYSTEM", "content": "s"}, {"role": "ROLE_USER", "content": "u"}],
        generation={
            "max_output_tokens": 5,
            "temperature": 0.0,
            "top_p": 0.5,
            "stop": ["a"],
            "seed": 0,
            "response_format": {"type": "RESPONSE_FORMAT_TYPE_JSON_OBJECT"},
        },
        constraints={
            "min_tier": "TIER_MEDIUM",
            "max_cost_micros": 0,
            "quality_target": 0.9,
            "forbid_cloud_analysis": True,
        },
        attribution={"team": "t", "feature": "f", "labels": {"k": "v"}},
        criticality="CRITICALITY_SHEDDABLE",
        session_id="s-1",
    )
    core = requests.route_request(wire, "acme")
    assert (core.request_id, core.tenant, core.session_id) == ("r-1", "acme", "s-1")
    assert core.messages == (Message(Role.SYSTEM, "s"), Message(Role.USER, "u"))
    assert core.generation == Generation(5, 0.0, 0.5, ("a",), 0, ResponseFormatType.JSON_OBJECT)
    assert core.constraints == Constraints(Tier.MEDIUM, None, 0, 0.9, forbid_cloud_analysis=True)
    assert core.attribution == Attribution("t", "f", {"k": "v"})
    assert core.criticality is Criticality.SHEDDABLE
    assert list(requests.messages_to_wire(core.messages)) == list(wire.messages)


def test_an_empty_request_demands_nothing() -> None:
    """Unset is None, and the request gets a name."""
    core = requests.route_request(router_pb2.DecideRequest(messages=[{"role": "ROLE_USER", "content": "u"}]), "local")
    assert core.generation == Generation()
    assert core.constraints == Constraints()
    assert core.criticality is Criticality.STANDARD
    assert uuid.UUID(core.request_id).version == 7


def test_later_request_ids_sort_later() -> None:
    """A ledger's index grows at its end."""
    made = [requests.new_request_id(lambda at=at: at) for at in (1.0, 2.0, 3.0)]  # type: ignore[misc]
    assert made == sorted(made)
    assert len({requests.new_request_id(lambda: 1.0) for _ in range(1000)}) == 1000


ANALYSIS = Analysis((0.2, 0.5, 0.8), 0.7, AnalysisSource.CACHE_SIMILAR, Task.CODING, truncated=True, revision="m-1")
DECISION = Decision(
    tier=Tier.LARGE,
    cause=Cause.LOW_CONFIDENCE,
    considered=(
        TierEstimate(Tier.SMALL, 0.2, None, Exclusion.MAX_COST),
        TierEstimate(Tier.LARGE, 0.8, 0),
    ),
    explanation="because",
    analysis=ANALYSIS,
    skipped_rungs=(SkippedRung(Rung.SELF_HOSTED, SkipReason.TIMEOUT),),
    policy_revision="p",
    price_revision="c",
    backend="b",
)


def test_a_decision_explains_itself() -> None:
    """An unknown cost is unset; a cost of 0 is set."""
    wire = responses.decision(DECISION)
    assert wire.tier == router_pb2.TIER_LARGE
    assert wire.analysis_source == router_pb2.ANALYSIS_SOURCE_CACHE_SIMILAR
    assert wire.complexity == pytest.approx(0.8)
    assert wire.expected_gain == pytest.approx(0.6)
    small, large = wire.considered
    assert not small.HasField("estimated_cost_micros")
    assert (small.allowed, small.excluded_by) == (False, router_pb2.EXCLUSION_MAX_COST)
    assert large.HasField("estimated_cost_micros")
    assert large.allowed
    assert wire.skipped_rungs[0].reason == router_pb2.SKIP_REASON_TIMEOUT
    assert (wire.analyzer_revision, wire.policy_revision, wire.price_revision) == ("m-1", "p", "c")


def test_no_analysis_is_said_so() -> None:
    """Complexity 0.5, confidence 0, source NONE."""
    wire = responses.decision(replace(DECISION, analysis=None))
    assert (wire.complexity, wire.confidence) == (0.5, 0.0)
    assert wire.analysis_source == router_pb2.ANALYSIS_SOURCE_NONE


def test_an_unknown_cost_is_never_zero() -> None:
    """It is unset, and said to be unknown."""
    wire = responses.cost(Cost(None, 3, 10))
    assert not wire.HasField("total_micros")
    assert not wire.HasField("saved_micros")
    assert wire.cost_unknown
    assert responses.cost(Cost(4, 0, 1)).saved_micros == -3


def test_times_are_exact_and_unset_when_nothing_happened() -> None:
    """From seconds to the wire's durations."""
    wire = responses.timings(Timings(total=1.25, plan=0.0))
    assert (wire.total.seconds, wire.total.nanos) == (1, 250_000_000)
    assert wire.HasField("plan")
    assert not wire.HasField("dispatch")


def test_an_attempt_without_usage_has_none() -> None:
    """Nothing is made up."""
    attempt = Attempt(Tier.SMALL, "b", "m", AttemptOutcome.TIMEOUT, 0.5)
    assert not responses.attempt(attempt).HasField("usage")
    assert responses.attempt(replace(attempt, usage=Usage(1, 2, estimated=True))).usage.estimated
