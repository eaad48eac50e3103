"""A server is not serving before it says so, tells every watcher, and lets none of them hold up its stop."""

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from servicekit.errors import NotFound
from servicekit.health import LIVENESS, HealthServicer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def request(service: str = "") -> Any:
    """Asks for a service's state."""
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", ["", "a.B"])
async def test_born_not_serving(service: str) -> None:
    """Under its name and as a whole."""
    health = HealthServicer(["a.B"])
    assert (await health.Check(request(service), None)).status == NOT_SERVING
    health.set_serving(serving=True)
    assert (await health.Check(request(service), None)).status == SERVING


async def test_an_unknown_service_is_not_found() -> None:
    """As the health protocol says."""
    with pytest.raises(NotFound):
        await HealthServicer([]).Check(request("x.Y"), None)


async def test_a_watch_tells_every_change_and_ends_at_the_close() -> None:
    """Otherwise a watching proxy would use up the whole grace period."""
    health = HealthServicer(["a.B"])
    seen: list[int] = []

    async def watch() -> None:
        seen.extend([each.status async for each in health.Watch(request("a.B"), None)])

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    health.set_serving(serving=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    health.close()
    await asyncio.wait_for(watching, 1)
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]


async def test_closed_is_for_good() -> None:
    """A late success of a warm-up pass doesn't bring a stopping server back."""
    health = HealthServicer([])
    health.close()
    health.set_serving(serving=True)
    assert not health.serving
    assert "NOT_SERVING" in repr(health)


async def test_a_process_that_loads_or_drains_is_alive() -> None:
    """Liveness asks whether the event loop answers, not whether calls are welcome: nobody is started anew for that."""
    health = HealthServicer(["a.B"])
    assert (await health.Check(request(LIVENESS), None)).status == SERVING
    health.close()
    assert (await health.Check(request(LIVENESS), None)).status == SERVING
