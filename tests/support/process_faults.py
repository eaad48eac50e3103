"""Faults of whole processes, by pid, and processes that come back on their ports."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local.processes import ProcessPlan, StackProcess, wait_ready

START_SECONDS = 90.0


def kill(pid: int) -> None:
    """Ends a process as the kernel does when memory runs out."""
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """Stops a process where it is; its connections stay open."""
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    """Lets it go on."""
    os.kill(pid, signal.SIGCONT)


def terminate(pid: int) -> None:
    """Asks it to stop."""
    os.kill(pid, signal.SIGTERM)


class Restartable:
    """A process that can be ended and started anew, with the same command, ports and log."""

    def __init__(self, plan: ProcessPlan, folder: Path, cwd: Path) -> None:
        self.plan = plan
        self._folder = folder
        self._cwd = cwd
        self._starts = 0
        self.start()

    def __repr__(self) -> str:
        return f"<Restartable {self.plan.name}, start {self._starts}: {self.process!r}>"

    @property
    def pid(self) -> int:
        """The running process's id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.ended() is None

    def start(self) -> None:
        """Starts it; `wait_ready` tells when it serves."""
        self._starts += 1
        log = self._folder / f"{self.plan.name}.{self._starts}.log"
        self.process = StackProcess(self.plan, log, self._cwd)

    def wait_ready(self) -> None:
        """Returns once it serves."""
        wait_ready([self.process], time.monotonic() + START_SECONDS, lambda: False)

    def kill(self) -> None:
        """Ends it at once."""
        with suppress(ProcessLookupError):
            kill(self.pid)
        self.process.wait_stopped(lambda: True)

    def restart(self) -> None:
        """Ends it as a rolling update does, by SIGTERM, and returns once its successor serves."""
        self.stop()
        self.start()
        self.wait_ready()

    def revive(self) -> None:
        """Starts it if it has ended, lets it go on if it is frozen, and returns once it serves."""
        if self.runs:
            thaw(self.pid)
        else:
            self.start()
        self.wait_ready()

    def stop(self) -> None:
        """Returns once it has drained and ended."""
        if self.runs:
            thaw(self.pid)
        self.process.ask_to_stop()
        self.process.wait_stopped(lambda: False)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freezes a process for a block."""
    freeze(pid)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            thaw(pid)
