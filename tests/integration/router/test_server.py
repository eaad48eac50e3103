"""A whole router between a real gRPC analyzer and a real HTTP backend, both scripted."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tinyroute.router.v1 import admin_pb2, admin_pb2_grpc, router_pb2

from servicekit.status import received_reason, received_status
from tests.support.fake_analyzer import FakeAnalyzer, found, refusal
from tests.support.fake_openai import FakeOpenAI, Reply, status
from tests.support.holding import until
from tests.support.running_router import Running, asking, configuration, running_router, said, write

CLOUD_LATENCY = 0.4


@dataclass
class World:
    """A router and what it leans on."""

    router: Running
    analyzer: FakeAnalyzer
    model: FakeOpenAI
    folder: Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All three, well."""
    async with (
        FakeAnalyzer() as analyzer,
        FakeOpenAI(Reply(("Four", "."))) as model,
        running_router(tmp_path, configuration(tmp_path, analyzer.target, model.base_url)) as router,
    ):
        yield World(router, analyzer, model, tmp_path)


async def test_route_answers_and_explains_itself(world: World) -> None:
    """One response holds answer, choice, cost and times."""
    response = await world.router.stub.Route(asking(request_id="r-1"))
    assert response.request_id == "r-1"
    assert response.text == "Four."
    assert response.finish_reason == router_pb2.FINISH_REASON_STOP
    assert response.decision.tier == router_pb2.TIER_SMALL
    assert response.decision.backend == "small-a"
    assert response.decision.cause == router_pb2.CAUSE_QUALITY_TARGET
    assert response.decision.analyzer_revision == "tiny-1"
    assert [each.tier for each in response.decision.considered] == [1, 2, 3]
    assert (response.usage.input_token_count, response.usage.output_token_count) == (11, 2)
    assert response.cost.total_micros == 15
    assert response.cost.saved_micros == 1500 - 15
    assert response.attempts[0].outcome == router_pb2.ATTEMPT_OUTCOME_ANSWERED
    assert response.timings.total.ToTimedelta().total_seconds() > 0
    assert len(response.trace_id) == 32


async def test_stream_brings_the_decision_first_and_the_bill_last(world: World) -> None:
    """And the pieces between."""
    pieces = [
        piece async for piece in world.router.stub.StreamRoute(router_pb2.StreamRouteRequest(messages=said("hi")))
    ]
    assert pieces[0].decision.tier == router_pb2.TIER_SMALL
    assert pieces[0].request_id
    assert "".join(piece.delta for piece in pieces) == "Four."
    assert pieces[-1].finish_reason == router_pb2.FINISH_REASON_STOP
    assert pieces[-1].cost.total_micros == 15
    assert not pieces[-1].HasField("decision")


async def test_decide_sends_nothing_to_a_tier(world: World) -> None:
    """The same decision, no call."""
    response = await world.router.stub.Decide(router_pb2.DecideRequest(messages=said("hi")))
    assert response.decision.tier == router_pb2.TIER_SMALL
    assert not world.model.seen


async def test_constraints_are_obeyed(world: World) -> None:
    """Over what the analysis says."""
    response = await world.router.stub.Route(asking(constraints={"min_tier": "TIER_LARGE"}))
    assert response.decision.tier == router_pb2.TIER_LARGE
    assert response.decision.cause == router_pb2.CAUSE_CONSTRAINT


async def test_a_dead_analyzer_never_looks_healthy(world: World) -> None:
    """The answer comes from the medium tier, and says why."""
    world.analyzer.answer = refusal(grpc.StatusCode.UNAVAILABLE)
    response = await world.router.stub.Route(asking())
    assert response.decision.tier == router_pb2.TIER_MEDIUM
    assert response.decision.cause == router_pb2.CAUSE_DEFAULT
    assert response.decision.analysis_source == router_pb2.ANALYSIS_SOURCE_NONE
    assert [(each.rung, each.reason) for each in response.decision.skipped_rungs] == [
        (router_pb2.RUNG_SELF_HOSTED, router_pb2.SKIP_REASON_UNAVAILABLE),
        (router_pb2.RUNG_CLOUD_TINY, router_pb2.SKIP_REASON_DISABLED),
    ]


async def test_the_cloud_rung_answers_for_a_dead_analyzer(tmp_path: Path) -> None:
    """With a cloud's latency, billed, and named as the source; a caller can forbid it."""
    async with (
        FakeAnalyzer(refusal(grpc.StatusCode.UNAVAILABLE)) as analyzer,
        FakeOpenAI(Reply(("5",)), latency=CLOUD_LATENCY) as cloud,
        FakeOpenAI() as model,
    ):
        changes = {"cloud_analysis": {"enabled": True, "base_url": cloud.base_url, "model": "cloud-tiny"}}
        async with running_router(
            tmp_path, configuration(tmp_path, analyzer.target, model.base_url, changes)
        ) as router:
            response = await router.stub.Decide(router_pb2.DecideRequest(messages=said("Prove it.")))
            assert response.decision.analysis_source == router_pb2.ANALYSIS_SOURCE_CLOUD_TINY
            assert response.decision.tier == router_pb2.TIER_LARGE
            assert response.cost.analysis_micros == 13
            forbidden = router_pb2.DecideRequest(messages=said("x"), constraints={"forbid_cloud_analysis": True})
            response = await router.stub.Decide(forbidden)
            assert response.decision.skipped_rungs[1].reason == router_pb2.SKIP_REASON_FORBIDDEN_BY_CALLER
            assert len(cloud.seen) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": " "}, "messages[0].content"),
        ({"text": "x" * 262_145}, "messages[0].content"),
        ({"request_id": "with blanks"}, "request_id"),
        ({"constraints": {"quality_target": 2.0}}, "constraints.quality_target"),
        (
            {"generation": {"response_format": {"type": 3, "json_schema": "{nonsense"}}},
            "generation.response_format.json_schema",
        ),
        ({"generation": {"response_format": {"json_schema": "{}"}}}, "generation.response_format.json_schema"),
    ],
    ids=["blank", "oversized", "id", "quality", "schema", "schema without type"],
)
async def test_an_invalid_request_names_its_field(world: World, fields: dict[str, Any], field: str) -> None:
    """And reaches neither analyzer nor backend."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.router.stub.Route(asking(**fields))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in violations(refused.value)
    assert not world.analyzer.seen
    assert not world.model.seen


def violations(error: grpc.aio.AioRpcError) -> list[str]:
    """Fields that a refusal names."""
    for detail in received_status(error).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return [each.field for each in bad.field_violations]
    return []


async def test_a_failing_tier_is_left_for_the_next_one_up(world: World) -> None:
    """Both attempts are in the response, and the decision says where the answer is from."""
    world.model.script = [status(500), Reply(("Five",))]
    response = await world.router.stub.Route(asking())
    assert response.text == "Five"
    assert response.decision.tier == router_pb2.TIER_MEDIUM
    assert [each.outcome for each in response.attempts] == [
        router_pb2.ATTEMPT_OUTCOME_BACKEND_ERROR,
        router_pb2.ATTEMPT_OUTCOME_ANSWERED,
    ]


async def test_all_backends_dead_is_unavailable(world: World) -> None:
    """A typed error, before the deadline."""
    world.model.script = [status(503)]
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await world.router.stub.Route(asking(), timeout=5)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert received_reason(failed.value)


async def test_a_cut_stream_ends_with_what_came_and_says_error(world: World) -> None:
    """Nothing is switched after the first piece."""
    world.model.script = [Reply(("Fo",), finish_reason=None)]
    pieces = [piece async for piece in world.router.stub.StreamRoute(router_pb2.StreamRouteRequest(messages=said("x")))]
    assert pieces[-1].finish_reason == router_pb2.FINISH_REASON_ERROR
    assert "".join(piece.delta for piece in pieces) == "Fo"
    assert len(world.model.seen) == 1


async def test_a_cancelled_caller_stops_the_backend(world: World) -> None:
    """Within 100 ms or so."""
    world.model.script = [Reply(first_token_after=30)]
    call = world.router.stub.Route(asking())
    await until(lambda: bool(world.model.seen))
    call.cancel()
    await until(lambda: world.model.abandoned == 1)


async def test_a_batch_answers_each_by_itself(world: World) -> None:
    """Invalid ones fail alone, and results carry their names."""

    async def requests() -> AsyncIterator[router_pb2.BatchRouteRequest]:
        yield router_pb2.BatchRouteRequest(request=asking(request_id="a"))
        yield router_pb2.BatchRouteRequest(request=asking(" ", request_id="b"))
        yield router_pb2.BatchRouteRequest()
        yield router_pb2.BatchRouteRequest(request=asking(request_id="c"))

    results = {each.request_id: each async for each in world.router.stub.BatchRoute(requests())}
    assert set(results) == {"a", "b", "", "c"}
    assert results["a"].response.text == "Four."
    assert results["b"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert results[""].HasField("error")
    assert results["c"].HasField("response")


async def test_verdicts_are_kept_and_usage_is_summed_at_once(world: World) -> None:
    """Nobody waits for the ledger's mover."""
    await world.router.stub.Route(asking(request_id="r-1", attribution={"team": "search"}))
    report = router_pb2.ReportOutcomeRequest(request_id="r-1", verdict=router_pb2.VERDICT_GOOD)
    assert not (await world.router.stub.ReportOutcome(report)).replaced
    assert (await world.router.stub.ReportOutcome(report)).replaced
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await world.router.stub.ReportOutcome(router_pb2.ReportOutcomeRequest(request_id="r-2", score=0.5))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    query = admin_pb2.QueryUsageRequest(
        group_by=[admin_pb2.USAGE_DIMENSION_TENANT, admin_pb2.USAGE_DIMENSION_TEAM, admin_pb2.USAGE_DIMENSION_TIER]
    )
    (row,) = (await admin_pb2_grpc.UsageServiceStub(world.router.admin).QueryUsage(query)).rows
    assert list(row.group) == ["local", "search", "SMALL"]
    assert (row.request_count, row.cost_micros, row.saved_micros) == (1, 15, 1485)


async def test_operators_calls_are_on_the_admin_port_alone(world: World) -> None:
    """And say what is missing where something is."""
    policies = admin_pb2_grpc.PolicyServiceStub(world.router.admin)
    policy = (await policies.GetPolicy(admin_pb2.GetPolicyRequest())).policy
    assert policy.quality_target == 0.95
    assert policy.state == admin_pb2.POLICY_STATE_CONFIGURED
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await policies.ProposePolicy(admin_pb2.ProposePolicyRequest(quality_target=0.9))
    assert missing.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert received_reason(missing.value) == "TOO_FEW_OUTCOMES"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin_pb2_grpc.PolicyServiceStub(world.router.channel).GetPolicy(admin_pb2.GetPolicyRequest())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_and_reflection_tell_the_services(world: World) -> None:
    """By name."""
    health = health_pb2_grpc.HealthStub(world.router.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service="tinyroute.router.v1.RouterService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "tinyroute.router.v1.RouterService" in await listed(world.router.channel)
    assert "tinyroute.router.v1.UsageService" in await listed(world.router.admin)


async def listed(channel: grpc.aio.Channel) -> list[str]:
    """Services that reflection names."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    response = await call.read()
    call.cancel()
    return [each.name for each in response.list_services_response.service]


async def test_a_changed_file_is_in_force_and_a_bad_one_is_not(world: World) -> None:
    """Without a restart, and without losing a call."""
    base = configuration(world.folder, world.analyzer.target, world.model.base_url)
    write(world.router.config, base | {"policy": {"revision": "second", "default_tier": "LARGE"}})
    await until_policy(world, "second")
    world.router.config.write_text("version: 1\ntiers: {HUGE: {}}\n")
    await asyncio.sleep(1.2)
    response = await world.router.stub.Route(asking())
    assert response.decision.policy_revision == "second"


async def until_policy(world: World, revision: str) -> None:
    """Waits until decisions go by it."""
    async with asyncio.timeout(5):
        while True:
            response = await world.router.stub.Decide(router_pb2.DecideRequest(messages=said("x")))
            if response.decision.policy_revision == revision:
                return
            await asyncio.sleep(0.05)


async def test_a_hard_prompt_goes_to_the_large_tier(world: World) -> None:
    """What it is all for."""
    world.analyzer.answer = found(0.2, 0.5, 0.9)
    response = await world.router.stub.Route(asking())
    assert response.decision.tier == router_pb2.TIER_LARGE
    assert world.model.seen[0].body["model"] == "large-model"


async def test_a_repeat_gets_the_first_answer_and_costs_nothing(world: World) -> None:
    """Twenty at once: one call to the tier, one row, twenty equal answers."""
    responses = await asyncio.gather(*(world.router.stub.Route(asking(request_id="same")) for _ in range(20)))
    assert {response.text for response in responses} == {"Four."}
    assert len(world.model.seen) == 1
    (row,) = (await admin_pb2_grpc.UsageServiceStub(world.router.admin).QueryUsage(admin_pb2.QueryUsageRequest())).rows
    assert row.request_count == 1
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await world.router.stub.Route(asking("Another body", request_id="same"))
    assert reused.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_restart_remembers_what_was_answered_and_spent(tmp_path: Path) -> None:
    """The ledger does; the answer itself is on no disk."""
    async with FakeAnalyzer() as analyzer, FakeOpenAI(Reply(("Four",))) as model:
        made = configuration(tmp_path, analyzer.target, model.base_url, {"budgets": {"local": {"micros_per_day": 600}}})
        async with running_router(tmp_path, made) as router:
            await router.stub.Route(asking(request_id="same", generation={"max_output_tokens": 10}))
        async with running_router(tmp_path, made) as router:
            with pytest.raises(grpc.aio.AioRpcError) as again:
                await router.stub.Route(asking(request_id="same", generation={"max_output_tokens": 10}))
            assert again.value.code() is grpc.StatusCode.ALREADY_EXISTS
            assert "15 micro-dollars" in str(again.value.details())
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await router.stub.Route(asking(generation={"max_output_tokens": 290}))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            (quota,) = quotas(refused.value)
            assert "spent $0.000015" in quota.description or "0.000015" in quota.description
    assert len(model.seen) == 1


def quotas(error: grpc.aio.AioRpcError) -> list[error_details_pb2.QuotaFailure.Violation]:
    """Budgets that a refusal names."""
    for detail in received_status(error).details:
        failure = error_details_pb2.QuotaFailure()
        if detail.Unpack(failure):
            return list(failure.violations)
    return []
