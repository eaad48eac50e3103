"""Keeps health honest: a replica whose passes fail or hang turns callers away until one real pass succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from analyzer.batching import MicroBatcher

_log = structlog.get_logger(__name__)


class Vigil:
    """Looks at the engine once a second."""

    def __init__(
        self,
        batcher: MicroBatcher,
        set_serving: Callable[[bool], None],
        probe: Callable[[], Awaitable[object]],
        *,
        interval_seconds: float = 1.0,
        most_failures: int = 3,
        longest_pass_seconds: float = 10.0,
    ) -> None:
        self._batcher = batcher
        self._set_serving = set_serving
        self._probe = probe
        self._interval_seconds = interval_seconds
        self._most_failures = most_failures
        self._longest_pass_seconds = longest_pass_seconds
        self._well = True

    def __repr__(self) -> str:
        return f"<Vigil {'well' if self._well else 'unwell'}>"

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self.look()

    async def look(self) -> None:
        """Compares what is told with what is true, once."""
        unwell = self._trouble()
        if self._well and unwell:
            self._well = False
            self._set_serving(False)
            _log.error("turning callers away", why=unwell)
        elif not self._well and await self._recovered():
            self._well = True
            self._set_serving(True)
            _log.info("serving again")

    def _trouble(self) -> str:
        if self._batcher.failures_in_a_row >= self._most_failures:
            return f"the last {self._batcher.failures_in_a_row} forward passes failed"
        if self._batcher.running_seconds > self._longest_pass_seconds:
            return f"a forward pass has been running for {self._batcher.running_seconds:.0f} s"
        return ""

    async def _recovered(self) -> bool:
        try:
            await self._probe()
        except Exception as error:  # noqa: BLE001 - whatever the probe says, it is not well yet
            _log.warning("still turning callers away", error=type(error).__name__)
            return False
        return not self._trouble()
