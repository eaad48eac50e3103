"""A further router beside a running stack: another configuration in front of the same analyzers."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.health import grpc_serving
from deploy.local.plan import ROUTER_SERVICE
from deploy.local.processes import ProcessPlan, StackProcess, wait_ready
from tests.support.free_ports import free_port_base
from tests.support.local_stack import BIN, ROOT, START_SECONDS, LocalStack


@contextmanager
def router_process(stack: LocalStack, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Runs `router serve` for a block and yields its address."""
    base = free_port_base(3)
    address = f"127.0.0.1:{base}"
    prefix = "TINYROUTE_ROUTER__"
    plan = ProcessPlan(
        name="router",
        role="router",
        command=[str(BIN / "router"), "serve", "--config", str(stack.folder / "router.yaml")],
        address=address,
        ready=lambda: grpc_serving(address, ROUTER_SERVICE),
        environment={
            f"{prefix}LISTEN__PORT": str(base),
            f"{prefix}LISTEN__ADMIN_PORT": str(base + 1),
            f"{prefix}LISTEN__METRICS_PORT": str(base + 2),
            f"{prefix}ANALYZER__TARGET": stack.document["envoy"],
            f"{prefix}LEDGER__FOLDER": str(folder / "ledger"),
            **environment,
        },
        stop_seconds=20,
    )
    process = StackProcess(plan, folder / "router.log", ROOT)
    try:
        wait_ready([process], time.monotonic() + START_SECONDS, interrupted=lambda: False)
        yield address
    finally:
        process.ask_to_stop()
        process.wait_stopped(impatient=lambda: False)
