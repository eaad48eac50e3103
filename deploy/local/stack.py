"""The whole system on one machine: analyzers behind Envoy, router, JSON front, a local model, a page of traces.

    python -m deploy.local.stack up        (make up)

Prints `ready` once everything serves, and keeps it until Ctrl-C or SIGTERM; a second one ends it at once.

    REPLICAS=2                          analyzers, 1 to 9
    CONFIG=deploy/local/router.yaml     the router's configuration
    TINYROUTE_PORT_BASE=21000           moves all ports, for a second stack
    TINYROUTE_RUN=.run                  where logs, stack.json and the ledger go
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.health import grpc_serving
from deploy.local.interrupts import Interrupts
from deploy.local.plan import ANALYZER_SERVICE, ROOT, ROUTER_SERVICE, StackSettings, process_plans
from deploy.local.ports import LOOPBACK, PORT_BASE, free_ports, taken
from deploy.local.processes import StackError, StackProcess, tied, wait_ready

START_SECONDS = 90.0
WATCH_SECONDS = 0.2


@contextmanager
def running_stack(settings: StackSettings, interrupts: Interrupts) -> Iterator[list[StackProcess]]:
    """Starts everything, yields once it serves, stops everything at the end, whatever happens.

    Raises StackError when something does not start; by then nothing runs any more.
    """
    if busy := taken(settings.ports, settings.replicas):
        hint = f"stop what listens there, or move the stack: {PORT_BASE}={free_ports(settings.replicas).router}"
        raise StackError("\n".join([*busy, hint]))
    logs = settings.run_folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    document = settings.run_folder / "stack.json"
    started: list[StackProcess] = []
    try:
        plans = (tied(plan) for plan in process_plans(settings))
        started.extend(StackProcess(plan, logs / f"{plan.name}.log", ROOT) for plan in plans)
        deadline = time.monotonic() + START_SECONDS
        wait_ready(started, deadline, interrupts.asked)
        wait_through_envoy(settings, deadline)
        write_document(document, describe(settings, started))
        yield started
    finally:
        document.unlink(missing_ok=True)
        stop_all(started, interrupts)


def wait_through_envoy(settings: StackSettings, deadline: float) -> None:
    """Returns once calls get through both of Envoy's listeners."""
    paths = ((settings.ports.analyzer_listener, ANALYZER_SERVICE), (settings.ports.front_listener, ROUTER_SERVICE))
    for port, service in paths:
        while (missing := grpc_serving(f"{LOOPBACK}:{port}", service)) is not None:
            if time.monotonic() > deadline:
                raise StackError(f"calls don't get through Envoy: {missing}\nits log: .run/logs/envoy.log")
            time.sleep(WATCH_SECONDS)


def stop_all(started: list[StackProcess], interrupts: Interrupts) -> None:
    """Stops in the reverse order of the start, so that what drains still finds what it needs; analyzers together."""
    waiting = list(reversed(started))
    while waiting:
        role = waiting[0].plan.role
        group = [process for process in waiting if process.plan.role == role]
        for process in group:
            process.ask_to_stop()
        for process in group:
            process.wait_stopped(interrupts.impatient)
        waiting = waiting[len(group) :]


def describe(settings: StackSettings, started: list[StackProcess]) -> dict[str, Any]:
    """Returns what other tools read of a running stack."""
    ports = settings.ports
    return {
        "router": f"{LOOPBACK}:{ports.router}",
        "envoy": f"{LOOPBACK}:{ports.analyzer_listener}",
        "json": f"{LOOPBACK}:{ports.front_listener}",
        "ui": f"{LOOPBACK}:{ports.otlp_http}",
        "processes": [
            {"role": each.plan.role, "pid": each.pid, "address": each.plan.address, "log": str(each.log)}
            for each in started
        ],
    }


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Writes a JSON file that is never seen half-written."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=2) + "\n")
    part.replace(path)


def watch(started: list[StackProcess], interrupts: Interrupts) -> None:
    """Returns when a stop is asked for. A part that ends is named; the others go on, as they are built to.

    Without its router the stack is none: raises StackError.
    """
    while not interrupts.wait(WATCH_SECONDS):
        for process in started:
            if process.reported or (how := process.ended()) is None:
                continue
            process.reported = True
            message = f"{process.plan.name} (pid {process.pid}) {how}; {process.last_words()}"
            if process.plan.role == "router":
                raise StackError(message)
            print(f"{message}\nthe others go on", file=sys.stderr, flush=True)


def say_where(settings: StackSettings) -> None:
    """Tells a person what there is to try."""
    ports = settings.ports
    traces = f"http://{LOOPBACK}:{ports.otlp_http}"
    print(f"router    {LOOPBACK}:{ports.router} (gRPC), http://{LOOPBACK}:{ports.front_listener} (gRPC and JSON)")
    print(
        f"analyzers {settings.replicas} behind {LOOPBACK}:{ports.analyzer_listener}, {settings.threads} thread(s) each"
    )
    print(f"traces    {f'go to {settings.collector}, not to {traces}' if settings.collector else traces}")
    print(f"logs      {settings.run_folder / 'logs'}")
    print("One small local model (SmolLM2-135M) stands in for all three tiers and for the cloud model.")


def up() -> None:
    """Runs a stack until it is told to stop."""
    settings = StackSettings.from_environment(os.environ)
    with Interrupts() as interrupts, running_stack(settings, interrupts) as started:
        say_where(settings)
        print("ready", flush=True)
        watch(started, interrupts)
        print("stopping", flush=True)


def main() -> None:
    """Exits with 1, saying why, when something does not start or the router ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up"])
    parser.parse_args()
    try:
        up()
    except StackError as error:
        sys.exit(f"make up: {error}")


if __name__ == "__main__":
    main()
