"""A whole router in the test's own process: real ports, real HTTP and gRPC on both sides."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from ruamel.yaml import YAML
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from router.server import Ready, serve
from router.settings import RouterSettings
from servicekit.config import load_config

PRICES = {
    "small-model": [{"input_micros_per_mtok": 1_000_000, "output_micros_per_mtok": 2_000_000}],
    "medium-model": [{"input_micros_per_mtok": 10_000_000, "output_micros_per_mtok": 20_000_000}],
    "large-model": [{"input_micros_per_mtok": 100_000_000, "output_micros_per_mtok": 200_000_000}],
    "cloud-tiny": [{"input_micros_per_mtok": 1_000_000, "output_micros_per_mtok": 1_000_000}],
}


def configuration(
    folder: Path, analyzer: str, base_url: str, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A configuration of three tiers at one endpoint, on free ports."""
    tiers = {
        name: {"backends": [{"name": f"{name.lower()}-a", "base_url": base_url, "model": f"{name.lower()}-model"}]}
        for name in ("SMALL", "MEDIUM", "LARGE")
    }
    made = {
        "version": 1,
        "listen": {"port": 0, "admin_port": 0, "metrics_port": 0},
        "analyzer": {"target": analyzer, "timeout_ms": 1000},
        "tiers": tiers,
        "prices": {"revision": "test-1", "models": PRICES},
        "ledger": {"folder": str(folder / "ledger")},
        "drain": {"notice_seconds": 0, "grace_seconds": 1},
    }
    return made | dict(changes or {})


def write(path: Path, made: Mapping[str, Any]) -> None:
    """Writes the configuration to its file."""
    with path.open("w") as file:
        YAML(typ="safe").dump(dict(made), file)


@dataclass
class Running:
    """A router that serves."""

    ready: Ready
    config: Path
    channel: grpc.aio.Channel
    admin: grpc.aio.Channel

    @property
    def stub(self) -> router_pb2_grpc.RouterServiceStub:
        """Callers' view."""
        return router_pb2_grpc.RouterServiceStub(self.channel)

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.ready.port}"

    @property
    def admin_target(self) -> str:
        """Where it listens for operators."""
        return f"127.0.0.1:{self.ready.admin_port}"


@asynccontextmanager
async def running_router(
    folder: Path, made: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Runs a router while entered."""
    config = folder / "router.yaml"
    write(config, made)
    settings = load_config(RouterSettings, config, {}, "NONE")
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(config, settings, environment or {}, ready.set_result))
    done, _ = await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        serving.result()
    ports = ready.result()
    try:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{ports.port}") as channel,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports.admin_port}") as admin,
        ):
            yield Running(ports, config, channel, admin)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def said(text: str) -> list[prompt_pb2.Message]:
    """A conversation of one message."""
    return [prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)]


def asking(text: str = "What is 2 + 2?", **fields: Any) -> router_pb2.RouteRequest:
    """A RouteRequest."""
    return router_pb2.RouteRequest(messages=said(text), **fields)
