"""A scripted analyzer as Envoy knows analyzers: it tells its health, takes pings, and stalls or fails as told."""

import asyncio
import random
import time
from typing import Any

import grpc
from tinyroute.analyzer.v1 import analyzer_pb2_grpc

from servicekit.health import HealthServicer
from tests.support.fake_analyzer import FakeAnalyzer

SERVICE = "tinyroute.analyzer.v1.AnalyzerService"


class ScriptedReplica(FakeAnalyzer):
    """Answers after `latency`, and a share of the calls `stall_seconds` later; notes when each call came."""

    def __init__(self, latency: float = 0.0, stall_share: float = 0.0, stall_seconds: float = 0.5) -> None:
        super().__init__(latency=latency)
        self.stall_share = stall_share
        self.stall_seconds = stall_seconds
        self.came: list[float] = []
        self._dice = random.Random(1)

    async def start(self, port: int = 0) -> None:
        """Listens, SERVING."""
        self.health = HealthServicer([SERVICE])
        self.health.set_serving(serving=True)
        options = [("grpc.http2.min_ping_interval_without_data_ms", 200), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        self.health.add_to(self._server)
        analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.target = f"127.0.0.1:{self.port}"
        await self._server.start()

    async def AnalyzePrompt(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the proto
        """Answers as told."""
        self.came.append(time.monotonic())
        if self._dice.random() < self.stall_share:
            await asyncio.sleep(self.stall_seconds)
        return await super().AnalyzePrompt(request, context)
