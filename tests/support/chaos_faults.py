"""Faults of every kind that a running fleet can be struck with, each with what heals it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from tinyroute.analyzer.v1 import model_pb2, model_pb2_grpc

from deploy.local.ports import LOOPBACK
from tests.support.chaos_fleet import ChaosFleet
from tests.support.fake_openai import FakeOpenAI, Reply, status
from tests.support.process_faults import freeze, thaw

WELL = Reply(("Four", "."))


@dataclass
class Strikes:
    """Strikes a fleet and its stand-ins; `heal` undoes all of it."""

    fleet: ChaosFleet
    tiers: FakeOpenAI
    cloud: FakeOpenAI
    done: list[str] = field(default_factory=list)
    _reloads: int = 0

    @property
    def kinds(self) -> dict[str, Callable[[int], Awaitable[None]]]:
        """Faults by name; each takes a number that picks its victim."""
        return {
            "kill": self.kill,
            "stop": self.stop,
            "slow": self.slow,
            "429": self.rate_limit,
            "cut": self.cut,
            "swap": self.swap,
            "reload": self.reload,
            "envoy": self.kill_envoy,
            "cloud": self.break_cloud,
        }

    async def strike(self, kind: str, number: int) -> None:
        """Strikes once."""
        self.done.append(kind)
        await self.kinds[kind](number)

    async def kill(self, number: int) -> None:
        """Ends an analyzer."""
        await asyncio.to_thread(self.fleet.analyzers[number % len(self.fleet.analyzers)].kill)

    async def stop(self, number: int) -> None:
        """Freezes an analyzer."""
        analyzer = self.fleet.analyzers[number % len(self.fleet.analyzers)]
        if analyzer.runs:
            freeze(analyzer.pid)

    async def slow(self, _number: int) -> None:
        """Tiers think for a while before their first token."""
        self.tiers.latency = 0.5

    async def rate_limit(self, _number: int) -> None:
        """Tiers refuse every other call."""
        self.tiers.script = [status(429, retry_after=1), WELL] * 50 + [WELL]

    async def cut(self, _number: int) -> None:
        """Every other answer of a tier breaks off."""
        self.tiers.script = [Reply(("Fo", "ur"), finish_reason=None), WELL] * 50 + [WELL]

    async def swap(self, number: int) -> None:
        """An analyzer changes to a revision anew, if it lives."""
        port = self.fleet.ports.first_analyzer_admin + number % len(self.fleet.analyzers)
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
            stub = model_pb2_grpc.ModelServiceStub(channel)
            try:
                state = await stub.GetServingState(model_pb2.GetServingStateRequest(), timeout=2)
                revision = state.state.active_revision
                await stub.StageRevision(model_pb2.StageRevisionRequest(revision=revision), timeout=20)
                await stub.ActivateRevision(model_pb2.ActivateRevisionRequest(revision=revision), timeout=20)
            except grpc.aio.AioRpcError:
                return  # it is dead or frozen: an operator is told

    async def reload(self, number: int) -> None:
        """The configuration changes, or turns bad, and every router hears a SIGHUP."""
        self._reloads += 1
        if number % 2:
            self.fleet.config.write_text("version: 1\ntiers: {HUGE: {}}\n")
        else:
            self.fleet.write_config({"policy": {"revision": f"reload-{self._reloads}"}})
        for router in self.fleet.routers:
            os.kill(router.pid, signal.SIGHUP)

    async def kill_envoy(self, _number: int) -> None:
        """Ends the proxy before the analyzers."""
        await asyncio.to_thread(self.fleet.envoy.kill)

    async def break_cloud(self, _number: int) -> None:
        """The cloud refuses every call."""
        self.cloud.script = [status(503)]

    async def heal(self) -> None:
        """Makes all of it well again."""
        self.tiers.latency, self.tiers.script = 0.0, [WELL]
        self.cloud.script = [Reply(("3",))]
        self.fleet.write_config()
        for process in (*self.fleet.analyzers, self.fleet.envoy):
            if process.runs:
                thaw(process.pid)
            else:
                process.start()
        for process in (*self.fleet.analyzers, self.fleet.envoy):
            await asyncio.to_thread(process.wait_ready)
