"""The whole system as `make up` starts it, on ports of its own, for a block of a test."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.ports import PORT_COUNT
from tests.support.free_ports import free_port_base

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
START_SECONDS = 90.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class StackOptions:
    """What `make up` is told: how many analyzers, and settings of the services as environment variables."""

    replicas: int = 2
    environment: Mapping[str, str] | None = None


class LocalStack:
    """A running stack and what it says."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.document: dict[str, Any] = {}
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.append(line.rstrip("\n"))
            if line == "ready\n":
                self._ready.set()

    @property
    def said(self) -> str:
        """Everything it has printed."""
        return "\n".join(self._lines)

    @property
    def envoy_admin(self) -> str:
        """Where Envoy tells its figures; not in stack.json, for it can stop the proxy."""
        host, port = self.document["json"].split(":")
        return f"{host}:{int(port) + 1}"

    def wait_ready(self) -> None:
        """Returns once it says so; raises AssertionError with its words when it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self._ready.wait(0.1):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
        self.document = json.loads((self.folder / "stack.json").read_text())

    def pids(self, role: str | None = None) -> list[int]:
        """Process ids, of one role or all."""
        return [each["pid"] for each in self.document["processes"] if role in (None, each["role"])]

    def log(self, name: str) -> str:
        """What a process has logged."""
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    def envoy_counters(self, pattern: str) -> dict[str, int]:
        """Returns figures of Envoy whose names match."""
        command = ["curl", "-sS", "--fail", f"http://{self.envoy_admin}/stats?format=json&filter={pattern}"]
        stats = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to stop as a person does, and returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(STOP_SECONDS)
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


def start(folder: Path, options: StackOptions) -> LocalStack:
    """Starts a stack, which is not up yet."""
    environment = {
        **os.environ,
        **(options.environment or {}),
        "REPLICAS": str(options.replicas),
        "TINYROUTE_RUN": str(folder),
        "TINYROUTE_PORT_BASE": str(free_port_base(PORT_COUNT)),
    }
    command = [sys.executable, "-m", "deploy.local.stack", "up"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return LocalStack(process, folder)


@contextmanager
def local_stack(folder: Path, options: StackOptions | None = None) -> Iterator[LocalStack]:
    """A stack that is up for a block and gone after it."""
    stack = start(folder, options or StackOptions())
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


def alive(pid: int) -> bool:
    """Whether a process is there and no mere zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
