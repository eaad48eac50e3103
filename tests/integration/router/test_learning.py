"""A whole router that learns: verdicts and shadow pairs in, policies out, followed by every router of the store."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.router.v1 import admin_pb2, admin_pb2_grpc, router_pb2

from servicekit.status import received_reason
from tests.support.fake_analyzer import FakeAnalyzer, found
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.running_router import Running, asking, configuration, running_router

FOLLOW_SECONDS = 5.0
REQUESTS = 220


@asynccontextmanager
async def learning_router(folder: Path, **learning: Any) -> AsyncIterator[Running]:
    """A router between a scripted analyzer and scripted backends."""
    async with FakeAnalyzer(found(0.8, 0.9, 0.95)) as analyzer, FakeOpenAI(Reply(("Four", "."))) as model:
        settings = {"learning": {"follow_interval_ms": 200, **learning}}
        made = configuration(folder, analyzer.target, model.base_url, settings)
        made["ledger"] = {"folder": str(folder / "ledger")}
        (folder / "config").mkdir(exist_ok=True)
        async with running_router(folder / "config", made) as router:
            yield router


def policies(router: Running) -> admin_pb2_grpc.PolicyServiceStub:
    """Operators' view."""
    return admin_pb2_grpc.PolicyServiceStub(router.admin)


async def serving(router: Running) -> str:
    """The revision that decides."""
    return (await router.stub.Decide(router_pb2.DecideRequest(messages=asking().messages))).decision.policy_revision


async def until_serving(router: Running, revision: str) -> float:
    """Seconds until the revision decides."""
    started = time.monotonic()
    async with asyncio.timeout(FOLLOW_SECONDS):
        while await serving(router) != revision:  # noqa: ASYNC110 - another process's doing, in principle
            await asyncio.sleep(0.05)
    return time.monotonic() - started


async def teach(router: Running) -> None:
    """Has prompts answered, nine of ten well."""
    at_once = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        verdict = router_pb2.VERDICT_GOOD if number % 10 else router_pb2.VERDICT_BAD
        report = router_pb2.ReportOutcomeRequest(request_id=f"r-{number}", verdict=verdict)
        async with at_once:
            await router.stub.Route(asking(request_id=report.request_id))
            await router.stub.ReportOutcome(report)

    await asyncio.gather(*(one(number) for number in range(REQUESTS)))


def rows(folder: Path, query: str) -> list[Any]:
    """What the store says."""
    with sqlite3.connect(folder / "ledger" / "ledger.sqlite") as connection:
        return connection.execute(query).fetchall()


async def test_policies_are_proposed_promoted_followed_and_left(tmp_path: Path) -> None:
    """By a second router of the same store too, within 5 s; and they serve on after a restart."""
    async with learning_router(tmp_path) as router:
        await teach(router)
        asked = admin_pb2.ProposePolicyRequest(quality_target=0.9)
        proposed = (await policies(router).ProposePolicy(asked)).policy
        assert proposed.state == admin_pb2.POLICY_STATE_PROPOSED
        assert proposed.outcome_count == REQUESTS
        assert not proposed.HasField("failure_bound")
        assert await serving(router) == "configured"
        (tmp_path / "second").mkdir()
        (tmp_path / "second" / "ledger").symlink_to(tmp_path / "ledger")
        async with learning_router(tmp_path / "second") as second:
            promoted = await policies(router).PromotePolicy(admin_pb2.PromotePolicyRequest(revision=proposed.revision))
            assert promoted.policy.state == admin_pb2.POLICY_STATE_PROMOTED
            assert await serving(router) == proposed.revision
            assert await until_serving(second, proposed.revision) < FOLLOW_SECONDS
            await policies(second).RollbackPolicy(admin_pb2.RollbackPolicyRequest())
            assert await until_serving(router, "configured") < FOLLOW_SECONDS
        left = await policies(router).GetPolicy(admin_pb2.GetPolicyRequest(revision=proposed.revision))
        assert left.policy.state == admin_pb2.POLICY_STATE_RETIRED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await policies(router).RollbackPolicy(admin_pb2.RollbackPolicyRequest())
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert received_reason(refused.value) == "NO_POLICY_BEFORE"
        asked = admin_pb2.ProposePolicyRequest(mean_cost_micros=10**9)
        dear = (await policies(router).ProposePolicy(asked)).policy
        assert dear.quality_target == pytest.approx(1.0)
        await policies(router).PromotePolicy(admin_pb2.PromotePolicyRequest(revision=dear.revision))
    async with learning_router(tmp_path) as again:
        assert await serving(again) == dear.revision


@pytest.mark.parametrize("revision", ["nobody's"])
async def test_a_revision_that_is_not_there_is_not_found(tmp_path: Path, revision: str) -> None:
    """To look at or to promote."""
    async with learning_router(tmp_path) as router:
        for call in (
            policies(router).GetPolicy(admin_pb2.GetPolicyRequest(revision=revision)),
            policies(router).PromotePolicy(admin_pb2.PromotePolicyRequest(revision=revision)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_shadow_answers_are_billed_marked_and_judged(tmp_path: Path) -> None:
    """The caller sees one answer; the ledger has every call, the store the pair."""
    async with learning_router(tmp_path, shadow_share=1.0) as router:
        response = await router.stub.Route(asking(request_id="r-1"))
        assert len(response.attempts) == 1
        async with asyncio.timeout(10):
            while not (pairs := rows(tmp_path, "SELECT * FROM shadow_pairs")):  # noqa: ASYNC110 - it is in a file
                await asyncio.sleep(0.05)
        query = admin_pb2.QueryUsageRequest(group_by=[admin_pb2.USAGE_DIMENSION_TIER])
        await admin_pb2_grpc.UsageServiceStub(router.admin).QueryUsage(query)
        ((tenant, request_id, *_, lower_score, upper_score),) = pairs
        assert (tenant, request_id, lower_score, upper_score) == ("local", "r-1", 1.0, 1.0)
        booked = rows(tmp_path, "SELECT rpc, tier, cost_micros FROM requests WHERE request_id = 'r-1' ORDER BY record")
        assert booked[0][0] == "Route"
        shadows = [row for row in booked if row[0] == "Shadow"]
        assert shadows
        assert all(cost > 0 and tier != response.decision.tier for _, tier, cost in shadows)


async def test_without_a_share_nothing_is_shadowed(tmp_path: Path) -> None:
    """The default costs nothing."""
    async with learning_router(tmp_path) as router:
        for number in range(20):
            await router.stub.Route(asking(request_id=f"r-{number}"))
        await admin_pb2_grpc.UsageServiceStub(router.admin).QueryUsage(admin_pb2.QueryUsageRequest())
        assert rows(tmp_path, "SELECT DISTINCT rpc FROM requests") == [("Route",)]
