"""Child processes with a log each, a session each, and an end that is certain."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

POLL_SECONDS = 0.1
LOG_LINES_SHOWN = 8


class StackError(Exception):
    """The stack can't go on; the message says what to do."""


@dataclass(frozen=True)
class ProcessPlan:
    """One process to be started."""

    name: str
    role: str
    command: Sequence[str]
    address: str
    """What others call it at, host:port."""
    ready: Callable[[], str | None]
    """Returns None once it serves, until then what it still waits for."""
    environment: Mapping[str, str]
    """Added to this process's own."""
    stop_seconds: float = 5.0
    """How long it may drain."""


class StackProcess:
    """A started process."""

    def __init__(self, plan: ProcessPlan, log: Path, folder: Path) -> None:
        self.plan = plan
        self.log = log
        self.reported = False
        with log.open("wb") as output:
            output.write(f"$ {shlex.join(plan.command)}\n".encode())
            output.flush()
            # A session of its own: Ctrl-C reaches the stack alone, which then stops its parts in their order.
            self._process = subprocess.Popen(
                plan.command,
                cwd=folder,
                env={**os.environ, **plan.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<StackProcess {self.plan.name} {self.pid}: {self.ended() or 'running'}>"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ended(self) -> str | None:
        """Returns how it ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def last_words(self) -> str:
        """Returns where its log is and how that ends."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"its log: {self.log}", *(f"  | {line}" for line in lines)])

    def ask_to_stop(self) -> None:
        """Sends SIGTERM, once it runs."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait_stopped(self, impatient: Callable[[], bool]) -> None:
        """Returns when it has ended, with everything it started: by SIGKILL if it takes longer than it may."""
        deadline = time.monotonic() + self.plan.stop_seconds
        while self._process.poll() is None and time.monotonic() < deadline and not impatient():
            time.sleep(POLL_SECONDS / 2)
        with contextlib.suppress(ProcessLookupError):  # then the whole session is gone already
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def tied(plan: ProcessPlan) -> ProcessPlan:
    """Returns a plan whose process the kernel stops when the one that starts it dies; as it is where that can't be had.

    It dies with the thread that started it: start from the main thread.
    """
    setpriv = shutil.which("setpriv")
    return replace(plan, command=[setpriv, "--pdeathsig", "TERM", *plan.command]) if setpriv else plan


def wait_ready(started: Sequence[StackProcess], deadline: float, interrupted: Callable[[], bool]) -> None:
    """Returns once all serve; raises StackError when one has ended, one is late, or the stack is told to stop."""
    waiting = list(started)
    while waiting:
        if interrupted():
            raise StackError("stopped before everything was up")
        for process in started:
            if (how := process.ended()) is not None:
                raise StackError(f"{process.plan.name} {how} before everything was up\n{process.last_words()}")
        missing = waiting[0].plan.ready()
        if missing is None:
            waiting.pop(0)
            continue
        if time.monotonic() > deadline:
            raise StackError(f"{waiting[0].plan.name} is not ready in time: {missing}\n{waiting[0].last_words()}")
        time.sleep(POLL_SECONDS)
