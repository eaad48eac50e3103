"""The whole system of real processes whose every part a test can break and bring back on its ports."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.envoy.render import EnvoyPorts, render
from deploy.envoy.render import write as write_envoy
from deploy.local.health import envoy_ready, grpc_serving
from deploy.local.plan import BIN, ROOT, ROUTER_SERVICE, StackSettings, analyzer_plan
from deploy.local.ports import LOOPBACK, PORT_COUNT, StackPorts
from deploy.local.processes import ProcessPlan
from tests.support.free_ports import free_port_base
from tests.support.process_faults import Restartable
from tests.support.running_router import configuration
from tests.support.running_router import write as write_router

NO_TELEMETRY = {"OTEL_SDK_DISABLED": "true"}
ENVOY_OPTIONS = ["--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]
MORE_PORTS = 20


@dataclass(frozen=True)
class FleetOptions:
    """How many of each, and settings of the routers as environment variables."""

    analyzers: int = 3
    routers: int = 1
    through_proxy: bool = False
    """Routers call Envoy at `proxy_port`, where the test puts a FaultProxy."""
    environment: Mapping[str, str] = field(default_factory=dict)


class ChaosFleet:
    """Analyzers behind an Envoy, routers; the test runs tiers at `tier_port` and the cloud at `cloud_port`."""

    def __init__(self, folder: Path, options: FleetOptions) -> None:
        base = free_port_base(PORT_COUNT + MORE_PORTS)
        self.folder = folder
        self.options = options
        self.ports = StackPorts.starting_at(base)
        self.tier_port, self.cloud_port, self.proxy_port = (base + PORT_COUNT + offset for offset in range(3))
        self.first_router = base + PORT_COUNT + 3
        self.config = folder / "router.yaml"
        self.write_config()
        settings = StackSettings(replicas=options.analyzers, run_folder=folder, ports=self.ports, collector="")
        self.analyzers = [self._start(_quiet(analyzer_plan(settings, index))) for index in range(options.analyzers)]
        self.envoy = self._start(self._envoy_plan())
        self.routers = [self._start(self._router_plan(index)) for index in range(options.routers)]

    def _start(self, plan: ProcessPlan) -> Restartable:
        return Restartable(plan, self.folder, ROOT)

    @property
    def processes(self) -> list[Restartable]:
        """All of them, in the order of their end."""
        return [*self.routers, self.envoy, *self.analyzers]

    @property
    def router(self) -> str:
        """Where the first router is called."""
        return self.routers[0].plan.address

    @property
    def envoy_target(self) -> str:
        """Where Envoy takes calls for the analyzers."""
        return self.envoy.plan.address

    def write_config(self, changes: Mapping[str, object] | None = None) -> None:
        """Writes the routers' configuration, to which they reload by themselves."""
        port = self.proxy_port if self.options.through_proxy else self.ports.analyzer_listener
        made = configuration(self.folder, f"{LOOPBACK}:{port}", f"http://{LOOPBACK}:{self.tier_port}/v1")
        cloud = {"enabled": True, "base_url": f"http://{LOOPBACK}:{self.cloud_port}/v1", "model": "cloud-tiny"}
        own = {
            "analyzer": {"target": f"{LOOPBACK}:{port}", "timeout_ms": 100},
            "cloud_analysis": cloud,
            "drain": {"notice_seconds": 1.0, "grace_seconds": 10.0},
        }
        write_router(self.config, made | own | dict(changes or {}))

    def wait_ready(self) -> None:
        """Returns once all serve and Envoy finds every analyzer healthy."""
        for process in self.processes:
            process.wait_ready()

    def revive(self) -> None:
        """Brings back whatever a test has broken."""
        for process in reversed(self.processes):
            if not process.runs:
                process.start()
        for process in self.processes:
            process.revive()

    def stop(self) -> None:
        """Ends everything."""
        for process in self.processes:
            process.stop()

    def _envoy_plan(self) -> ProcessPlan:
        ports = self.ports
        config = self.folder / "envoy.yaml"
        made = EnvoyPorts(
            analyzers=tuple(ports.first_analyzer + index for index in range(self.options.analyzers)),
            router=self.first_router,
            analyzer_listener=ports.analyzer_listener,
            front_listener=ports.front_listener,
            admin=ports.envoy_admin,
            collector=None,
        )
        with config.open("w") as stream:
            write_envoy(render(made), stream)
        admin = f"{LOOPBACK}:{ports.envoy_admin}"
        return ProcessPlan(
            name="envoy",
            role="envoy",
            command=[str(BIN / "envoy"), "-c", str(config), *ENVOY_OPTIONS],
            address=f"{LOOPBACK}:{ports.analyzer_listener}",
            ready=lambda: envoy_ready(admin, self.options.analyzers),
            environment={},
        )

    def _router_plan(self, index: int) -> ProcessPlan:
        port = self.first_router + 3 * index
        address = f"{LOOPBACK}:{port}"
        prefix = "TINYROUTE_ROUTER__"
        return ProcessPlan(
            name=f"router-{index + 1}",
            role="router",
            command=[str(BIN / "router"), "serve", "--config", str(self.config)],
            address=address,
            ready=lambda: grpc_serving(address, ROUTER_SERVICE),
            environment={
                f"{prefix}LISTEN__PORT": str(port),
                f"{prefix}LISTEN__ADMIN_PORT": str(port + 1),
                f"{prefix}LISTEN__METRICS_PORT": str(port + 2),
                f"{prefix}LEDGER__FOLDER": str(self.folder / f"ledger-{index + 1}"),
                **NO_TELEMETRY,
                **self.options.environment,
            },
            stop_seconds=20,
        )


def _quiet(plan: ProcessPlan) -> ProcessPlan:
    return replace(plan, environment={**plan.environment, **NO_TELEMETRY})


@contextlib.contextmanager
def chaos_fleet(folder: Path, options: FleetOptions | None = None) -> Iterator[ChaosFleet]:
    """A fleet that serves for a block and is gone after it."""
    fleet = ChaosFleet(folder, options or FleetOptions())
    try:
        fleet.wait_ready()
        yield fleet
    finally:
        fleet.stop()
