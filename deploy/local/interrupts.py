"""SIGTERM and Ctrl-C as something that can be asked and waited for."""

import signal
import threading
from typing import Self


class Interrupts:
    """SIGTERM and Ctrl-C, counted while entered."""

    def __init__(self) -> None:
        self._count = 0
        self._asked = threading.Event()

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._count > 0

    def impatient(self) -> bool:
        """Whether it was asked for twice."""
        return self._count > 1

    def wait(self, seconds: float) -> bool:
        """Waits for a stop that long at most; returns whether it was asked for."""
        return self._asked.wait(seconds)

    def _received(self, *_: object) -> None:
        self._count += 1
        self._asked.set()
