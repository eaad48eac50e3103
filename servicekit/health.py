"""The service `grpc.health.v1`, born NOT_SERVING; the stock Python servicer is born SERVING."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.errors import NotFound

WHOLE_SERVER = ""
LIVENESS = "tinyroute.liveness"
"""SERVING for as long as the event loop answers, also while a model loads and while the server drains: what a liveness
probe asks for, because restarting a process that loads or drains helps nobody."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc, unused-ignore]
    """Tells one state for the server as a whole and for each of its services by name."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset((WHOLE_SERVER, *services))
        self._status = _NOT_SERVING
        self._closed = False
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<HealthServicer {'SERVING' if self.serving else 'NOT_SERVING'}: {sorted(self._services)}>"

    @property
    def serving(self) -> bool:
        """Whether calls are welcome."""
        return bool(self._status == _SERVING)

    def set_serving(self, *, serving: bool) -> None:
        """Changes the state and tells all watchers. Once closed it stays NOT_SERVING."""
        self._status = _SERVING if serving and not self._closed else _NOT_SERVING
        self._notify()

    def close(self) -> None:
        """Ends every watch, so that none holds up the server's stop. The last state is NOT_SERVING, for good."""
        self._closed = True
        self.set_serving(serving=False)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the health service."""
        add: Callable[[HealthServicer, grpc.aio.Server], None] = health_pb2_grpc.add_HealthServicer_to_server
        add(self, server)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - the method's name in the proto
        """Answers the state now; NOT_FOUND for a service that is not here."""
        status = self._status_of(request.service)
        if status == _UNKNOWN:
            raise NotFound("UNKNOWN_SERVICE", "This server has no service of that name.")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802, ARG002
        """Yields the state now and at every change, until the server drains."""
        told = None
        while True:
            changed = self._changed
            status = self._status_of(request.service)
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            if self._closed:
                return
            await changed.wait()

    def _status_of(self, service: str) -> int:
        if service == LIVENESS:
            return int(_SERVING)
        return int(self._status if service in self._services else _UNKNOWN)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
