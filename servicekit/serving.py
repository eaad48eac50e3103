"""Running a gRPC server: its limits, its port, and a stop in two stages."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import structlog

from servicekit.health import HealthServicer

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class BindError(Exception):
    """A port can't be opened; the message says why and what to do."""


class Stopped(Exception):
    """The process was told to stop before it was ready."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server takes from its callers."""

    max_receive_bytes: int = 1_048_576
    max_concurrent_streams: int = 1024
    keepalive_seconds: float = 30.0
    min_ping_interval_seconds: float = 0.2
    """Shortest interval at which callers may ping: a proxy that pings every second finds frozen hosts in time."""


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """How long each stage of the stop may take."""

    quiet_seconds: float = 1.0
    """From NOT_SERVING to refusing new calls: health checks have to notice."""

    grace_seconds: float = 10.0
    """For calls in flight."""


def create_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], limits: ServerLimits | None = None
) -> grpc.aio.Server:
    """Returns a server without ports or services. The first interceptor is the outermost."""
    limits = limits or ServerLimits()
    options = [
        ("grpc.max_receive_message_length", limits.max_receive_bytes),
        ("grpc.max_concurrent_streams", limits.max_concurrent_streams),
        ("grpc.so_reuseport", 0),  # a second process on the same port is a mistake, not a second worker
        ("grpc.keepalive_time_ms", round(limits.keepalive_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.min_ping_interval_seconds * 1000)),
        ("grpc.http2.max_ping_strikes", 0),
    ]
    return grpc.aio.server(interceptors=interceptors, options=options)


def bind(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    """Opens a port (0: any free one) and returns its number; raises BindError saying what stands in the way."""
    _probe(host, port)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise BindError(f"can't listen on {address}: {error}") from error


def _probe(host: str, port: int) -> None:
    """Tries the port with a plain socket, whose error says more than gRPC's and is not printed to stderr."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise BindError(
            f"host {host!r} can't be resolved ({error.strerror}); use an address of this machine"
        ) from error
    except OSError as error:
        raise BindError(bind_sentence(host, port, error)) from error


def bind_sentence(host: str, port: int, error: OSError) -> str:
    """Returns what stands in the way of a port and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: another process listens on {host}; stop it or configure another port"
    if error.errno == errno.EACCES:
        return f"port {port} is not allowed to this user; configure one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; configure one that is, such as 127.0.0.1"
    return f"can't listen on {host}:{port}: {error.strerror or error}"


class StopSignals:
    """SIGTERM and SIGINT, while entered: the first asks for a stop, a second one ends the process at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def __repr__(self) -> str:
        return f"<StopSignals {'asked' if self._asked.is_set() else 'quiet'}>"

    def ask(self) -> None:
        """Asks for a stop, as the first signal does."""
        self._asked.set()

    async def wait(self) -> None:
        """Returns when a stop was asked for."""
        await self._asked.wait()

    async def unless_asked(self, work: Coroutine[Any, Any, T]) -> T:
        """Returns the result of some work; cancels it and raises Stopped when a stop is asked for meanwhile."""
        task = asyncio.create_task(work)
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped("told to stop before the start was over")
            return await task
        finally:
            for each in (task, asked):
                each.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)

    def _received(self, number: int) -> None:
        if self._asked.is_set():
            os._exit(128 + number)
        _log.info("stopping", signal=signal.Signals(number).name)
        self._asked.set()


async def drain(servers: Iterable[grpc.aio.Server], health: HealthServicer, settings: DrainSettings) -> None:
    """Stops in two stages: NOT_SERVING so that callers turn away, then no new calls and grace for those in flight."""
    health.set_serving(serving=False)
    await asyncio.sleep(settings.quiet_seconds)
    health.close()
    await asyncio.gather(*(server.stop(settings.grace_seconds) for server in servers))
