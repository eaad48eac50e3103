"""Routers restart one after the other behind the front that production has: no call is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.envoy.render import DESCRIPTOR_SET, Endpoint, named, point
from deploy.envoy.render import write as write_envoy
from deploy.k8s.envoy import front, manager_of
from deploy.local.health import grpc_serving
from deploy.local.plan import BIN, ROOT, ROUTER_SERVICE
from deploy.local.ports import LOOPBACK
from deploy.local.processes import ProcessPlan
from tests.support.chaos_calls import failures, self_hosted_share
from tests.support.chaos_fleet import ENVOY_OPTIONS, ChaosFleet, FleetOptions, chaos_fleet
from tests.support.chaos_load import capacity, under_load
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.free_ports import free_port_base
from tests.support.process_faults import Restartable
from tests.support.promises import Promises, load_seconds

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosFleet]:
    """Two routers."""
    options = FleetOptions(analyzers=2, routers=2)
    with chaos_fleet(tmp_path_factory.mktemp("fleet"), options) as running:
        yield running


def production_front(port: int, admin: int, routers: list[str]) -> dict[str, Any]:
    """The front of deploy/k8s, on this machine's ports and in front of these routers."""
    config = front()
    config["admin"] = {"address": {"socket_address": {"address": LOOPBACK, "port_value": admin}}}
    resources = config["static_resources"]
    listener = named(resources["listeners"])["front"]
    resources["listeners"] = [listener]
    listener["address"]["socket_address"] = {"address": LOOPBACK, "port_value": port}
    manager = manager_of(listener)
    manager.pop("tracing", None)
    transcoder = named(manager["http_filters"])["envoy.filters.http.grpc_json_transcoder"]
    transcoder["typed_config"]["proto_descriptor"] = str(DESCRIPTOR_SET)
    router = named(resources["clusters"])["router"]
    resources["clusters"] = [router]
    router.pop("cluster_type", None)
    router["type"] = "STATIC"
    point(router, [Endpoint.parse(address) for address in routers])
    return config


@pytest.fixture
async def door(fleet: ChaosFleet, tmp_path: Path) -> AsyncIterator[str]:
    """Where callers come in."""
    base = free_port_base(2)
    config = tmp_path / "front.yaml"
    with config.open("w") as stream:
        write_envoy(production_front(base, base + 1, [router.plan.address for router in fleet.routers]), stream)
    address = f"{LOOPBACK}:{base}"
    plan = ProcessPlan(
        name="front",
        role="envoy",
        command=[str(BIN / "envoy"), "-c", str(config), *ENVOY_OPTIONS],
        address=address,
        ready=lambda: grpc_serving(address, ROUTER_SERVICE),
        environment={},
    )
    envoy = Restartable(plan, tmp_path, ROOT)
    try:
        await asyncio.to_thread(envoy.wait_ready)
        yield address
    finally:
        await asyncio.to_thread(envoy.stop)


async def test_rolling_restart_of_two_routers(fleet: ChaosFleet, door: str, promises: Promises) -> None:
    """One after the other by SIGTERM, as a rolling update does."""
    async with (
        FakeOpenAI(Reply(("Four", ".")), port=fleet.tier_port),
        FakeOpenAI(Reply(("3",)), latency=0.4, port=fleet.cloud_port),
    ):
        rate = await capacity(fleet.envoy_target) / 2
        pids = [router.pid for router in fleet.routers]

        async def roll() -> None:
            await asyncio.sleep(2)
            for router in fleet.routers:
                await asyncio.to_thread(router.restart)
                await asyncio.sleep(2)

        run = await under_load(door, rate, load_seconds(30), roll)
    lost = dict(failures(run.told))
    promises.count("failed calls", "0", lost, holds=not lost)
    share = self_hosted_share(run.told)
    promises.timed("self-hosted decisions", "≥ 99.9 %", f"{share:.2%}", holds=share >= 0.999)
    renewed = sum(router.pid != old for router, old in zip(fleet.routers, pids, strict=True))
    promises.count("routers renewed", "2", renewed, holds=renewed == 2)
    promises.note(f"{len(run.told)} calls at {rate:.0f}/s")
    promises.settle()
