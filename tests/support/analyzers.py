"""Real analyzers in processes of their own, on free ports."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from deploy.local.plan import StackSettings, analyzer_plan
from deploy.local.ports import PORT_COUNT, StackPorts
from deploy.local.processes import StackProcess, wait_ready
from tests.support.free_ports import free_port_base

START_SECONDS = 60.0
NO_TELEMETRY = {"OTEL_SDK_DISABLED": "true"}


@contextlib.contextmanager
def running_analyzers(
    folder: Path, replicas: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[list[StackProcess]]:
    """Analyzers with the local stack's configuration and the machine's cores shared out, telemetry off; yields them."""
    settings = StackSettings(
        replicas=replicas, run_folder=folder, ports=StackPorts.starting_at(free_port_base(PORT_COUNT)), collector=""
    )
    started: list[StackProcess] = []
    try:
        for index in range(replicas):
            plan = analyzer_plan(settings, index)
            own = {**plan.environment, **NO_TELEMETRY, **(environment or {})}
            started.append(StackProcess(replace(plan, environment=own), folder / f"{plan.name}.log", folder))
        wait_ready(started, time.monotonic() + START_SECONDS, lambda: False)
        yield started
    finally:
        for process in started:
            process.ask_to_stop()
        for process in started:
            process.wait_stopped(lambda: False)


def ports_of(analyzers: list[StackProcess]) -> tuple[int, ...]:
    """The ports they serve on."""
    return tuple(int(process.plan.address.rpartition(":")[2]) for process in analyzers)
