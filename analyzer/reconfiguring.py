"""A changed configuration in a running service: what can change does; the rest is named and waits for a restart."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from analyzer.batching import MicroBatcher
from analyzer.configuration import batch_settings
from analyzer.settings import AnalyzerConfig, Limits
from analyzer.switching import ModelSwitch
from servicekit.config import ConfigError
from servicekit.errors import ServiceError
from servicekit.watching import FileWatch

_AT_ONCE = frozenset(("batching", "limits", "log"))

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reread:
    """A configuration file, and how it is read: raises ConfigError."""

    path: Path
    read: Callable[[], AnalyzerConfig]


class Limited(Protocol):
    """Something with limits that may change."""

    limits: Limits


class Reconfiguration:
    """Watches the file and listens for SIGHUP. What is wrong changes nothing."""

    def __init__(
        self,
        config: AnalyzerConfig,
        reread: Reread | None,
        batcher: MicroBatcher,
        handler: Limited,
        switch: ModelSwitch,
    ) -> None:
        self._config = config
        self._reread = reread
        self._batcher = batcher
        self._handler = handler
        self._switch = switch
        self._watch = FileWatch(reread.path) if reread is not None else None

    def listen(self) -> None:
        """Takes SIGHUP from now on; unheard, it would end the process."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked)

    async def run(self) -> None:
        """Works until cancelled; without a file, not at all."""
        if self._watch is not None and self._reread is not None:
            async for _ in self._watch.changes():
                await self.read_again(self._reread)

    async def read_again(self, reread: Reread) -> None:
        """Reads the file and applies it; a file that is wrong leaves everything as it is."""
        try:
            await self.apply(reread.read())
        except ConfigError as error:
            _log.error("configuration refused, the old one stays", mistakes=str(error).splitlines())

    async def apply(self, config: AnalyzerConfig) -> None:
        """Applies what can change in a running service and names what can't."""
        old, self._config = self._config, config
        names = type(config).model_fields
        changed = {name for name in names if getattr(old, name) != getattr(config, name)}
        if "batching" in changed:
            self._batcher.reconfigure(batch_settings(config, self._batcher.backlog_settings.tokens_a_batch))
        self._handler.limits = config.limits
        logging.getLogger().setLevel(config.log.level)
        if old.model.revision != config.model.revision and config.model.revision is not None:
            await self._activate(config.model.revision)
        same_revision = old.model.model_copy(update={"revision": config.model.revision}) == config.model
        waiting = changed - _AT_ONCE - ({"model"} if same_revision else set())
        _log.info("configuration applied", changed=sorted(changed))
        if waiting:
            _log.warning("some changes take a restart", settings=sorted(waiting))

    def _asked(self) -> None:
        if self._watch is None:
            _log.info("no configuration file, nothing to read again")
        else:
            self._watch.ask()

    async def _activate(self, revision: str) -> None:
        try:
            await self._switch.stage(revision)
            await self._switch.activate(revision, force=False)
        except ServiceError as error:
            _log.error("revision refused, the old one stays", revision=revision, why=error.message)
