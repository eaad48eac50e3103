"""Envoy between router and analyzers: what it retries, hedges, refuses and never does, with scripted replicas."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc
from tinyroute.prompt.v1 import prompt_pb2

from tests.support.envoy import RunningEnvoy
from tests.support.fake_analyzer import refusal
from tests.support.scripted_replica import SERVICE, ScriptedReplica
from tests.support.waiting import until

REQUEST = analyzer_pb2.AnalyzePromptRequest(messages=[prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content="Hi")])
pytestmark = pytest.mark.e2e


class Replica(ScriptedReplica):
    """A scripted analyzer that notes the deadlines it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds_left: list[float] = []

    async def AnalyzePrompt(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the proto
        """Answers as told, and notes the deadline."""
        self.seconds_left.append(context.time_remaining())
        return await super().AnalyzePrompt(request, context)


class Fleet:
    """Two replicas behind an Envoy, and a router's channel to it."""

    def __init__(self, replicas: list[Replica], envoy: RunningEnvoy, channel: grpc.aio.Channel) -> None:
        self.replicas = replicas
        self.envoy = envoy
        self.channel = channel

    async def analyze(self, *, key: str | None = None, seconds: float = 2.0, **headers: str) -> grpc.StatusCode:
        """Makes one call and returns its status."""
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        metadata += [("x-tinyroute-affinity", key)] if key is not None else []
        stub = analyzer_pb2_grpc.AnalyzerServiceStub(self.channel)
        try:
            await stub.AnalyzePrompt(REQUEST, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    @property
    def tries(self) -> int:
        """Calls that reached a replica."""
        return sum(len(replica.seen) for replica in self.replicas)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two healthy replicas behind an Envoy."""
    async with AsyncExitStack() as running:
        replicas = [await running.enter_async_context(Replica()) for _ in range(2)]
        envoy = RunningEnvoy(tmp_path, analyzers=tuple(replica.port for replica in replicas))
        await running.enter_async_context(envoy)
        channel = await running.enter_async_context(grpc.aio.insecure_channel(envoy.analyzer_target))
        await envoy.wait_healthy(2)
        yield Fleet(replicas, envoy, channel)


async def test_a_call_that_one_replica_can_not_take_goes_to_the_other(fleet: Fleet) -> None:
    """UNAVAILABLE is tried again, on another host."""
    fleet.replicas[0].answer = refusal(grpc.StatusCode.UNAVAILABLE)
    codes = [await fleet.analyze(key=str(number)) for number in range(20)]
    assert codes == [grpc.StatusCode.OK] * 20
    assert fleet.replicas[0].seen


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN]
)
async def test_what_another_replica_would_only_suffer_from_is_not_retried(fleet: Fleet, code: grpc.StatusCode) -> None:
    """Overload is not multiplied, a prompt that breaks one replica does not reach the next, and no host is ejected."""
    for replica in fleet.replicas:
        replica.answer = refusal(code)
    codes = [await fleet.analyze(key=str(number)) for number in range(20)]
    assert codes == [code] * 20
    hedges = await fleet.envoy.counter("cluster.analyzers.upstream_rq_per_try_timeout")  # on a machine that is busy
    assert fleet.tries <= 20 + hedges
    assert await fleet.envoy.counter("cluster.analyzers.membership_healthy") == 2


async def test_a_slow_replica_is_hedged_once(fleet: Fleet) -> None:
    """Whoever answers first wins; there is one extra try, not more."""
    fleet.replicas[0].latency = 1.0
    started = time.monotonic()
    codes = [await fleet.analyze(key=str(number)) for number in range(8)]
    assert codes == [grpc.StatusCode.OK] * 8
    assert time.monotonic() - started < 8 * 0.5
    assert len(fleet.replicas[1].seen) == 8
    assert fleet.tries <= 16


async def test_two_slow_replicas_get_two_tries_and_no_third(fleet: Fleet) -> None:
    """Slow but good answers are waited for."""
    for replica in fleet.replicas:
        replica.latency = 0.3
    assert await fleet.analyze() == grpc.StatusCode.OK
    assert fleet.tries == 2


async def test_near_duplicates_meet_in_the_same_replica(fleet: Fleet) -> None:
    """The affinity header decides; different values spread."""
    first: dict[str, Any] = {}
    for _ in range(3):
        for number in range(12):
            before = [len(replica.seen) for replica in fleet.replicas]
            await fleet.analyze(key=f"bucket-{number}")
            after = [len(replica.seen) for replica in fleet.replicas]
            chosen = [now - then for now, then in zip(after, before, strict=True)]
            assert first.setdefault(f"bucket-{number}", chosen) == chosen
    assert all(replica.seen for replica in fleet.replicas)


async def test_callers_do_not_steer_the_proxy(fleet: Fleet) -> None:
    """x-envoy-* is removed before Envoy itself reads it; the router's own headers arrive."""
    fleet.replicas[0].answer = fleet.replicas[1].answer = refusal(grpc.StatusCode.INTERNAL)
    await fleet.analyze(key="k", x_envoy_max_retries="5", x_envoy_retry_grpc_on="internal", x_tinyroute_tenant="t")
    assert fleet.tries == 1
    headers = next(headers for replica in fleet.replicas for _, headers in replica.seen)
    assert "x-envoy-max-retries" not in headers
    assert (headers["x-tinyroute-tenant"], headers["x-tinyroute-affinity"]) == ("t", "k")


async def test_a_replica_hears_the_deadline(fleet: Fleet) -> None:
    """The caller's time limit travels on."""
    await fleet.analyze(seconds=1.5)
    assert [1.0 < left <= 1.5 for replica in fleet.replicas for left in replica.seconds_left] == [True]


async def test_unknown_methods_reach_no_replica(fleet: Fleet) -> None:
    """Nobody can have a healthy host ejected by asking for nonsense, nor reach the operators' service."""
    for method in (f"/{SERVICE}/Nonsense", "/tinyroute.analyzer.v1.ModelService/ListRevisions"):
        call = fleet.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        for _ in range(10):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"")
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert fleet.tries == 0
    assert await fleet.envoy.counter("cluster.analyzers.membership_healthy") == 2


async def test_a_replica_that_drains_gets_no_calls(fleet: Fleet) -> None:
    """NOT_SERVING takes it out with the next health check."""
    fleet.replicas[0].health.set_serving(serving=False)
    await fleet.envoy.wait_healthy(1)
    assert [await fleet.analyze(key=str(number)) for number in range(10)] == [grpc.StatusCode.OK] * 10
    assert not fleet.replicas[0].seen


async def test_without_a_healthy_replica_the_refusal_comes_at_once(fleet: Fleet) -> None:
    """Envoy does not panic and send calls to the sick; the router can fall back in time."""
    for replica in fleet.replicas:
        replica.health.set_serving(serving=False)
    await fleet.envoy.wait_healthy(0)

    async def refused() -> bool:
        return await fleet.analyze() == grpc.StatusCode.UNAVAILABLE

    await until(refused, "what Envoy tells of its hosts has reached the thread that serves calls")
    before = fleet.tries
    assert [await fleet.analyze() for _ in range(5)] == [grpc.StatusCode.UNAVAILABLE] * 5
    assert fleet.tries == before
