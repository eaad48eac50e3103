"""A real Envoy under the local stack's configuration, in front of whatever a test puts behind it."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from deploy.envoy.render import Endpoint, EnvoyPorts, render, write
from tests.support.free_ports import free_port_base
from tests.support.waiting import until

ENVOY = Path(sys.executable).with_name("envoy")


@dataclass
class RunningEnvoy:
    """An Envoy for a block: `async with RunningEnvoy(folder, analyzers=(p, q)) as envoy`."""

    folder: Path
    analyzers: tuple[int, ...] = (1,)
    router: int = 1
    change: Callable[[dict[str, Any]], None] | None = None
    """Changes the configuration before Envoy reads it."""

    collector: Endpoint | None = None
    """Where its spans go; None: nowhere."""

    async def __aenter__(self) -> Self:
        base = free_port_base(3)
        self.ports = replace(
            EnvoyPorts(),
            analyzers=self.analyzers,
            router=self.router,
            analyzer_listener=base,
            front_listener=base + 1,
            admin=base + 2,
            collector=self.collector,
        )
        config = self.folder / "envoy.yaml"
        rendered = render(self.ports)
        if self.change is not None:
            self.change(rendered)
        with config.open("w") as stream:
            write(rendered, stream)
        self.log = (self.folder / "envoy.log").open("wb")
        options = ["--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]
        self._process = await asyncio.create_subprocess_exec(
            ENVOY, "-c", config, *options, stdout=self.log, stderr=self.log, start_new_session=True
        )
        await until(lambda: asyncio.to_thread(self._live), "Envoy is live")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self.log.close()

    @property
    def analyzer_target(self) -> str:
        """Where routers call the analyzers."""
        return f"127.0.0.1:{self.ports.analyzer_listener}"

    @property
    def front_target(self) -> str:
        """Where callers call the router."""
        return f"127.0.0.1:{self.ports.front_listener}"

    async def wait_healthy(self, count: int) -> None:
        """Returns once Envoy sends calls to exactly `count` analyzers."""

        async def reached() -> bool:
            return await self.counter("cluster.analyzers.membership_healthy") == count

        await until(reached, f"{count} analyzers are healthy")

    async def counter(self, name: str) -> int:
        """Returns one of Envoy's figures."""
        stats = await asyncio.to_thread(self._get, f"/stats?format=json&filter=^{name}$")
        return int(next((stat["value"] for stat in stats["stats"] if "value" in stat), 0))

    async def calls_by_host(self) -> dict[str, int]:
        """Returns how many calls each analyzer was sent."""
        found = await asyncio.to_thread(self._get, "/clusters?format=json")
        hosts = next(each["host_statuses"] for each in found["cluster_statuses"] if each["name"] == "analyzers")
        return {_port(host): _figure(host, "rq_total") for host in hosts}

    def _live(self) -> bool:
        try:
            self._get("/server_info")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.admin}{path}", timeout=2) as answer:
            return json.load(answer)


def _port(host: dict[str, Any]) -> str:
    return str(host["address"]["socket_address"]["port_value"])


def _figure(host: dict[str, Any], name: str) -> int:
    return next((int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == name), 0)
