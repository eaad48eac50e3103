"""Notices that a file's content changed, a ConfigMap's link swap included, or that somebody asks to read it again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

CHECK_SECONDS = 2.0


class FileWatch:
    """Watches one file. Content is compared, not times: an editor may write the same bytes again."""

    def __init__(self, path: Path, check_seconds: float = CHECK_SECONDS) -> None:
        self._path = path
        self._check_seconds = check_seconds
        self._seen = self._digest()
        self._asked = asyncio.Event()

    def __repr__(self) -> str:
        return f"<FileWatch {self._path}>"

    def ask(self) -> None:
        """Reports the file once more, changed or not (SIGHUP)."""
        self._asked.set()

    async def changes(self) -> AsyncIterator[Path]:
        """Yields the path whenever the file should be read again; a file that is gone is no change."""
        while True:
            asked = await self._asked_within(self._check_seconds)
            digest = await asyncio.to_thread(self._digest)
            if digest is not None and (asked or digest != self._seen):
                self._seen = digest
                yield self._path

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    def _digest(self) -> bytes | None:
        try:
            return hashlib.sha256(self._path.read_bytes()).digest()
        except OSError:
            return None
