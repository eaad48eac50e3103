"""Notices that the configuration changed, and keeps the old one when the new one is wrong."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import structlog

from servicekit.config import ConfigError
from servicekit.secret import SecretError

_log = structlog.get_logger(__name__)

CHECK_SECONDS = 1.0


class ConfigWatcher:
    """Calls `apply` when the file's content changes, or when poked (SIGHUP). What `apply` refuses changes nothing.

    Content is compared, not times: a ConfigMap swaps a link, and an editor may write the same bytes again.
    """

    def __init__(self, path: Path, apply: Callable[[], None], check_seconds: float = CHECK_SECONDS) -> None:
        self._path = path
        self._apply = apply
        self._check_seconds = check_seconds
        self._poked = asyncio.Event()
        self._seen = self._digest()
        self.applied = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"ConfigWatcher({self._path}: {self.applied} applied, {self.refused} refused)"

    def poke(self) -> None:
        """Reads the file again now, changed or not: what it refers to may have changed."""
        self._poked.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            poked = await self._wait()
            digest = await asyncio.to_thread(self._digest)
            if poked or digest != self._seen:
                self._seen = digest
                self._try()

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(self._check_seconds):
                await self._poked.wait()
        except TimeoutError:
            return False
        self._poked.clear()
        return True

    def _try(self) -> None:
        try:
            self._apply()
        except (ConfigError, SecretError) as error:
            self.refused += 1
            _log.error("configuration refused, the old one stays", mistakes=str(error).splitlines())
        else:
            self.applied += 1
            _log.info("configuration applied", path=str(self._path))

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError:
            return ""
