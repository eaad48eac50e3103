"""The composition root of the router: everything is made, joined, started and stopped here."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog

from router.adapters.analyzer_rung import AnalyzerRung, open_channel
from router.adapters.bulk_rung import BulkRung
from router.adapters.handlers.routes import Tracing
from router.adapters.listeners import Listeners
from router.adapters.request_log import RequestLog
from router.adapters.telemetry import (
    ContentCapture,
    QualityObserver,
    TelemetryObserver,
    current_trace_id,
    trace_headers,
    watch_breakers,
    watch_budgets,
    watch_ledger,
    watch_revisions,
)
from router.composition.assembly import Foundation, Workshop
from router.composition.catalogue import Environment
from router.composition.current import Current
from router.composition.keeping import Keeping, NoLedger, keep_ledger
from router.composition.learning import learn
from router.composition.listening import ADMIN_SERVICES, Served, listen, make_servers
from router.composition.pool import ClientPool, Closable
from router.composition.reloading import ConfigWatcher
from router.request import Message
from router.settings import ENVIRONMENT_PREFIX, RouterSettings
from router.terms import Terms
from servicekit.config import load_config
from servicekit.fingerprint import affinity_bucket
from servicekit.health import HealthServicer
from servicekit.serving import DrainSettings, StopSignals, drain
from servicekit.telemetry import Telemetry, TelemetrySettings, start_telemetry

SERVICE_NAME = "tinyroute-router"
SCOPE = "tinyroute.router"
RELOADED = ("policy", "tiers", "prices", "cloud_analysis")
"""Sections that a changed file changes at once; the others wait for the next start."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ready:
    """Ports of a router that answers."""

    port: int
    admin_port: int
    metrics_port: int | None


async def serve(
    config: Path, settings: RouterSettings, environment: Environment, announce: Callable[[Ready], None]
) -> None:
    """Runs the router until it is told to stop.

    Raises BindError (a port can't be opened) and SecretError (a key can't be read), each saying what to do.
    """
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        watcher = ConfigWatcher(config, lambda: service.reload(config))
        _hear_sighup(stack, watcher)  # from the start: unheard, it would end the process
        telemetry = start_telemetry(_telemetry_settings(settings), environment)
        stack.push_async_callback(telemetry.close)
        keeping = await stack.enter_async_context(keep_ledger(settings.ledger))
        service = Service(settings, environment, telemetry, keeping)
        stack.push_async_callback(service.close)
        await service.restore()
        health = HealthServicer(ADMIN_SERVICES)
        servers = make_servers(settings, service.served(), telemetry, health)
        ports = listen(settings, *servers)
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop, None)
        stack.callback(asyncio.create_task(watcher.run()).cancel)
        health.set_serving(serving=True)
        announce(Ready(*ports, telemetry.metrics_port))
        await signals.wait()
        await drain(servers, health, DrainSettings(settings.drain.notice_seconds, settings.drain.grace_seconds))


class Service:
    """The parts of one router process that a configuration names."""

    def __init__(
        self, settings: RouterSettings, environment: Environment, telemetry: Telemetry, keeping: Keeping | None
    ) -> None:
        self._environment = environment
        self._closing: set[asyncio.Task[None]] = set()
        self._keeping = keeping
        told = settings.telemetry
        capture = ContentCapture(told.capture_characters_max) if told.capture_content else None
        self._telemetry = TelemetryObserver(telemetry.tracer(SCOPE), telemetry.meter(SCOPE), capture)
        self._channel = open_channel(settings.analyzer.target)
        self._pool = ClientPool(self._telemetry, environment)
        single = AnalyzerRung(self._channel, bucket, trace_headers)
        analyzer = BulkRung(single, self._channel, bucket, trace_headers)
        ledger = keeping.spool if keeping is not None else NoLedger()
        quality = QualityObserver(telemetry.tracer(SCOPE), telemetry.meter(SCOPE))
        listeners = Listeners(self._telemetry, quality, RequestLog())
        earlier = keeping.earlier if keeping is not None else None
        self._learning = learn(keeping, listeners, settings.learning, lambda: self._current.built.terms)
        self._workshop = Workshop(
            Foundation(analyzer, self._telemetry, listeners, ledger, earlier, self._pool, self._learning), settings
        )
        self._current = Current(self._workshop.build(settings))
        watch_breakers(telemetry.meter(SCOPE), self._workshop.breakers)
        watch_budgets(telemetry.meter(SCOPE), self._workshop.budgets.day_shares)
        watch_revisions(telemetry.meter(SCOPE), self._revisions)
        if keeping is not None:
            watch_ledger(telemetry.meter(SCOPE), keeping.counts)

    def _revisions(self) -> tuple[str, str]:
        terms = self._terms()
        return terms.policy.revision, terms.prices.revision

    async def restore(self) -> None:
        """Takes over what was spent before this process began."""
        if self._keeping is not None:
            await self._keeping.restore(self._workshop.budgets)
        if self._learning is not None:
            await self._learning.start()

    def served(self) -> Served:
        """What callers and operators get."""
        return Served(
            routes=self._current,
            policy=lambda: self._terms().policy,
            tracing=Tracing(current_trace_id, self._telemetry.item),
            keeping=self._keeping,
            steering=self._learning.steering if self._learning is not None else None,
        )

    def _terms(self) -> Terms:
        terms = self._current.built.terms
        return terms if self._learning is None else self._learning.follow(terms)

    def reload(self, config: Path) -> None:
        """Goes by the file as it is now. Raises ConfigError or SecretError, and goes by the old one then."""
        settings = load_config(RouterSettings, config, self._environment, ENVIRONMENT_PREFIX)
        waiting = _unlike(self._current.built.settings, settings)
        self._current.built = self._workshop.build(settings)
        self._close_later(self._pool.take_retired(), settings.limits.default_deadline_seconds)
        if waiting:
            _log.warning("these sections wait for a restart", sections=waiting)

    def _close_later(self, clients: list[Closable], seconds: float) -> None:
        """Requests under way may still use clients that a new configuration does not name."""
        task = asyncio.create_task(_close_after(clients, seconds))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Closes every connection."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if self._learning is not None:
            await self._learning.close()
        await self._pool.close()
        await self._channel.close()


async def _close_after(clients: list[Closable], seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        for client in clients:
            await client.close()


def bucket(messages: Sequence[Message]) -> str:
    """The near-duplicate bucket of a conversation: that of its last message."""
    return affinity_bucket(messages[-1].content)


def _unlike(before: RouterSettings, after: RouterSettings) -> list[str]:
    """Sections that differ and are not reloaded."""
    names = set(RouterSettings.model_fields) - set(RELOADED)
    return sorted(name for name in names if getattr(before, name) != getattr(after, name))


def _hear_sighup(stack: AsyncExitStack, watcher: ConfigWatcher) -> None:
    """SIGHUP is a poke, until the stack is left."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, watcher.poke)
    stack.callback(loop.remove_signal_handler, signal.SIGHUP)


def _telemetry_settings(settings: RouterSettings) -> TelemetrySettings:
    return TelemetrySettings(
        service_name=SERVICE_NAME,
        service_version=version("tinyroute"),
        metrics_host=settings.listen.host,
        metrics_port=settings.listen.metrics_port,
    )
