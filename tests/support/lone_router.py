"""A router in a process of its own, in front of whatever analyzer a test has; and a receiver for its spans."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.health import grpc_serving
from deploy.local.plan import ROUTER_SERVICE, StackSettings, telemetry_plan
from deploy.local.ports import PORT_COUNT, StackPorts
from deploy.local.processes import ProcessPlan, StackProcess, wait_ready
from tests.support.free_ports import free_port_base
from tests.support.local_stack import BIN, ROOT, START_SECONDS
from tests.support.running_router import configuration, write

NOWHERE = "http://127.0.0.1:9/v1"
STOP_SECONDS = 60.0
"""More than it may take: how long it does take is measured."""


@contextmanager
def lone_router(folder: Path, analyzer: str, environment: Mapping[str, str]) -> Iterator[StackProcess]:
    """Runs `router serve` for a block. Its tiers lead nowhere: it is asked for decisions."""
    folder.mkdir(parents=True)
    base = free_port_base(3)
    write(folder / "router.yaml", configuration(folder, analyzer, NOWHERE))
    address, prefix = f"127.0.0.1:{base}", "TINYROUTE_ROUTER__LISTEN__"
    plan = ProcessPlan(
        name="router",
        role="router",
        command=[str(BIN / "router"), "serve", "--config", str(folder / "router.yaml")],
        address=address,
        ready=lambda: grpc_serving(address, ROUTER_SERVICE),
        environment={
            f"{prefix}PORT": str(base),
            f"{prefix}ADMIN_PORT": str(base + 1),
            f"{prefix}METRICS_PORT": str(base + 2),
            **environment,
        },
        stop_seconds=STOP_SECONDS,
    )
    with _running(plan, folder) as process:
        yield process


@contextmanager
def receiver(folder: Path) -> Iterator[str]:
    """Runs the local stack's receiver of traces for a block; yields its OTLP endpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = StackPorts.starting_at(free_port_base(PORT_COUNT))
    with _running(telemetry_plan(StackSettings(ports=ports)), folder):
        yield f"http://127.0.0.1:{ports.otlp_grpc}"


@contextmanager
def _running(plan: ProcessPlan, folder: Path) -> Iterator[StackProcess]:
    process = StackProcess(plan, folder / f"{plan.name}.log", ROOT)
    try:
        wait_ready([process], time.monotonic() + START_SECONDS, interrupted=lambda: False)
        yield process
    finally:
        process.ask_to_stop()
        process.wait_stopped(impatient=lambda: False)
