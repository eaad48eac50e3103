"""A server opens its port or says why not, and stops in two stages."""

import asyncio
import os
import signal
import socket
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.health import HealthServicer
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import BindError, DrainSettings, Stopped, StopSignals, bind, create_server, drain
from servicekit.validation import MessageValidator


async def test_a_port_in_use_is_told_by_its_number() -> None:
    """And what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=f"port {port} is in use"):
            bind(create_server([]), "127.0.0.1", port)


async def test_two_servers_never_share_a_port() -> None:
    """The second one is a mistake, not another worker."""
    first = create_server([])
    port = bind(first, "127.0.0.1", 0)
    await first.start()
    with pytest.raises(BindError, match="in use"):
        bind(create_server([]), "127.0.0.1", port)
    await first.stop(None)


@pytest.mark.parametrize(
    ("host", "sentence"), [("192.0.2.1", "no address of this machine"), ("no.such.host.invalid", "can't be resolved")]
)
async def test_a_host_that_is_not_here_is_told(host: str, sentence: str) -> None:
    """Before gRPC prints anything of its own."""
    with pytest.raises(BindError, match=sentence):
        bind(create_server([]), host, 0)


async def test_draining_turns_callers_away_first_and_lets_running_calls_end() -> None:
    """Health checks notice during the quiet time; a watch doesn't use up the grace."""
    health = HealthServicer([])
    server = create_server([RequestInterceptor(MessageValidator())])
    health.add_to(server)
    port = bind(server, "127.0.0.1", 0)
    await server.start()
    health.set_serving(serving=True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        started = time.monotonic()
        draining = asyncio.create_task(drain([server], health, DrainSettings(0.1, 30.0)))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await draining
    assert time.monotonic() - started < 10.0


async def test_a_signal_asks_for_a_stop_and_ends_unfinished_work() -> None:
    """A start that is still loading ends too."""
    with StopSignals() as signals:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            await signals.unless_asked(asyncio.sleep(30))
        await asyncio.wait_for(signals.wait(), 1)
        assert "asked" in repr(signals)


async def test_work_that_is_done_in_time_gives_its_result() -> None:
    """Nobody asked."""

    async def work() -> int:
        return 7

    with StopSignals() as signals:
        assert await signals.unless_asked(work()) == 7
