"""A hedge is seen in the trace: two tries of Envoy below the one rung that asked."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from tinyroute.analyzer.v1 import analyzer_pb2_grpc

from deploy.envoy.render import Endpoint
from deploy.local.telemetry_sink import grpc_receiver
from deploy.local.traces import TraceStore
from servicekit.health import HealthServicer
from tests.support.envoy import RunningEnvoy
from tests.support.fake_analyzer import FakeAnalyzer
from tests.support.fake_openai import FakeOpenAI
from tests.support.free_ports import free_port_base
from tests.support.running_router import asking, configuration, running_router
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

SLOWER_THAN_ONE_TRY_MAY_BE = 0.12
"""Envoy begins the second try after 55 ms; the first one goes on and answers."""


class Replica(FakeAnalyzer):
    """A scripted analyzer that Envoy finds healthy."""

    async def start(self, port: int = 0) -> None:
        """Listens, SERVING."""
        health = HealthServicer(["tinyroute.analyzer.v1.AnalyzerService"])
        health.set_serving(serving=True)
        self._server = grpc.aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 200)])
        health.add_to(self._server)
        analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()


async def test_a_hedge_is_two_tries_below_one_rung(tmp_path: Path) -> None:
    """To two replicas, whose answers the router can't tell apart; the tree is whole."""
    store, port = TraceStore(), free_port_base(1)
    receiver = grpc_receiver(store, port)
    try:
        await hedged_request(tmp_path, port)
        await until(lambda: there(store, "envoy to", 2), "Envoy's spans have come")
    finally:
        receiver.stop(grace=None)
    spans = spans_of(store)
    by_id = {span["span_id"]: span for span in spans}
    tries = [span for span in spans if span["name"].startswith("envoy to")]
    assert len({span["attributes"]["upstream_address"] for span in tries}) == 2
    assert sorted(span["attributes"].get("retry.count", "0") for span in tries) == ["0", "1"]
    (asked,) = {span["parent_id"] for span in tries}
    assert by_id[by_id[asked]["parent_id"]]["name"] == "rung self_hosted"
    assert by_id[by_id[asked]["parent_id"]]["attributes"]["tinyroute.analysis.source"] == "MODEL"
    assert [span["name"] for span in spans if span["parent_id"] and span["parent_id"] not in by_id] == []


async def hedged_request(folder: Path, port: int) -> None:
    """Sends one request through a router, an Envoy and two slow replicas."""
    async with Replica(latency=SLOWER_THAN_ONE_TRY_MAY_BE) as one, Replica(latency=SLOWER_THAN_ONE_TRY_MAY_BE) as two:
        ports = (one.port, two.port)
        async with (
            RunningEnvoy(folder, analyzers=ports, collector=Endpoint("127.0.0.1", port)) as envoy,
            FakeOpenAI() as model,
        ):
            await envoy.wait_healthy(2)
            made = configuration(folder, envoy.analyzer_target, model.base_url)
            environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
            async with running_router(folder, made, environment) as router:
                await router.stub.Route(asking(request_id="hedged"))
            await until(lambda: sent(envoy), "Envoy has sent its spans")
        assert len(one.seen) == len(two.seen) == 1


async def sent(envoy: RunningEnvoy) -> bool:
    """Whether Envoy has sent spans."""
    return await envoy.counter("tracing.opentelemetry.spans_sent") > 0


async def there(store: TraceStore, beginning: str, count: int) -> bool:
    """Whether so many spans have come."""
    return sum(span["name"].startswith(beginning) for span in spans_of(store)) >= count


def spans_of(store: TraceStore) -> list[dict[str, Any]]:
    """The request's trace."""
    found = store.find("hedged")
    return (store.get(found[0]) or []) if found else []
