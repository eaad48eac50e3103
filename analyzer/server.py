"""The composition root of the analyzer: everything is made, joined, started and stopped here."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_reflection.v1alpha import reflection
from tinyroute.analyzer.v1 import analyzer_pb2_grpc, model_pb2_grpc

from analyzer.adapters import handlers, model_handlers
from analyzer.adapters.modelstore import ModelStore, default_root
from analyzer.adapters.telemetry import TelemetryObserver
from analyzer.analyzing import PromptAnalyzer
from analyzer.batching import MicroBatcher, running
from analyzer.caching import AnalysisCache
from analyzer.configuration import (
    batch_settings,
    cache_settings,
    drain_settings,
    false_hit_settings,
    telemetry_settings,
)
from analyzer.conversation import Message, Prompt
from analyzer.loading import ModelLoader, state_folder
from analyzer.models import Models
from analyzer.observing import RevisionActivated
from analyzer.reconfiguring import Reconfiguration, Reread
from analyzer.settings import AnalyzerConfig
from analyzer.shelf import StoreShelf
from analyzer.switching import ModelSwitch
from analyzer.vigil import Vigil
from servicekit.deadline import Deadline
from servicekit.health import HealthServicer
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import ServerLimits, StopSignals, bind, create_server, drain
from servicekit.telemetry import Telemetry, start_telemetry
from servicekit.tracing import TracingServerInterceptor
from servicekit.validation import MessageValidator

_SCOPE = "tinyroute.analyzer"
_GRPC_SCOPE = "tinyroute.grpc"
_FIRST_PASS_SECONDS = 30.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """A service that answers: its ports, and the revision that does."""

    port: int
    admin_port: int
    metrics_port: int | None
    revision: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service is started in."""

    environment: Mapping[str, str]
    announce: Callable[[Ready], None] = lambda _: None
    """Told when the service answers."""

    reread: Reread | None = None
    """Where the configuration came from, to be watched; None: built-in settings."""


async def serve(config: AnalyzerConfig, surroundings: Surroundings) -> None:
    """Runs the analyzer until it is told to stop.

    Raises BindError, LoadError or ModelStoreError, each with a message that says what to do, and Stopped when the stop
    came before it was ready.
    """
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        telemetry = start_telemetry(telemetry_settings(config), surroundings.environment)
        stack.push_async_callback(telemetry.close)
        parts = _Parts(config, surroundings.environment, telemetry)
        working = running(parts.batcher, stack)
        working.add_done_callback(lambda _: signals.ask())  # without it nobody is answered: better to be restarted
        stack.push_async_callback(parts.analyzer.close)
        reconfiguration = parts.reconfiguration(surroundings.reread)
        reconfiguration.listen()
        ports = await parts.start_servers(stack)
        ready = await signals.unless_asked(parts.load(ports, telemetry.metrics_port))
        _in_background(stack, parts.vigil().run())
        _in_background(stack, reconfiguration.run())
        surroundings.announce(ready)
        await signals.wait()
        await drain(parts.servers, parts.health, drain_settings(config))


class _Parts:
    """What one service is made of."""

    def __init__(self, config: AnalyzerConfig, environment: Mapping[str, str], telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._observer = TelemetryObserver(telemetry.tracer(_SCOPE), telemetry.meter(_SCOPE))
        store = ModelStore(config.model.store or default_root(environment))
        self._loader = ModelLoader(store, config.model.threads, config.model.state or state_folder(environment))
        self.batcher = MicroBatcher(batch_settings(config), self._observer)
        self._models = Models(forward_pass_count=lambda: self.batcher.pass_count)
        self._switch = ModelSwitch(self._models, StoreShelf(self._loader), self._observer)
        self.analyzer = PromptAnalyzer(
            self._models,
            self.batcher,
            AnalysisCache(cache_settings(config)),
            false_hits=false_hit_settings(config),
            observer=self._observer,
        )
        self._validator = MessageValidator()
        self._handler = handlers.AnalyzerHandler(self.analyzer, self._validator, config.limits)
        self.health = HealthServicer([handlers.SERVICE, model_handlers.SERVICE])
        self.servers: list[grpc.aio.Server] = []

    async def start_servers(self, stack: AsyncExitStack) -> tuple[int, int]:
        """Opens both ports, NOT_SERVING; returns their numbers."""
        config = self._config
        public, admin = self._server(), self._server()
        analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(self._handler, public)
        model_pb2_grpc.add_ModelServiceServicer_to_server(model_handlers.ModelHandler(self._switch), admin)
        if config.reflection:
            _add_reflection(public, handlers.SERVICE)
        _add_reflection(admin, model_handlers.SERVICE)
        ports = bind(public, config.listen.host, config.listen.port), bind(admin, config.admin.host, config.admin.port)
        for server in (public, admin):
            self.health.add_to(server)
            await server.start()
            stack.push_async_callback(server.stop, None)
        self.servers = [public, admin]
        return ports

    async def load(self, ports: tuple[int, int], metrics_port: int | None) -> Ready:
        """Loads the model, makes one real forward pass through the whole path, and only then is SERVING."""
        loaded = await asyncio.to_thread(self._loader.load, self._config.model.revision)
        for measured in loaded.passes:
            self.batcher.pass_time.observe(measured.tokens, measured.seconds)
        measured_tokens = loaded.tuning.tokens_a_batch if loaded.tuning else None
        self.batcher.reconfigure(batch_settings(self._config, measured_tokens))
        self._models.active = loaded.model
        await self._probe()
        self._observer.revision_activated(RevisionActivated(loaded.model.revision, None))
        gc.collect()
        gc.freeze()  # what is here now stays: later collections, which stop the event loop, pass over it
        self.health.set_serving(serving=True)
        _log.info("serving", port=ports[0], admin_port=ports[1], p99_64_tokens_ms=round(loaded.p99_seconds * 1000, 1))
        return Ready(ports[0], ports[1], metrics_port, loaded.model.revision)

    def vigil(self) -> Vigil:
        """Returns what keeps health honest."""
        return Vigil(self.batcher, lambda serving: self.health.set_serving(serving=serving), self._probe)

    def reconfiguration(self, reread: Reread | None) -> Reconfiguration:
        """Returns what applies a changed configuration."""
        return Reconfiguration(self._config, reread, self.batcher, self._handler, self._switch)

    async def _probe(self) -> None:
        """Analyses one prompt, for real."""
        messages = (Message("user", "What is the capital of France?"),)
        await self.analyzer.analyze(Prompt(messages, "", Deadline.after(_FIRST_PASS_SECONDS), bypass_cache=True))

    def _server(self) -> grpc.aio.Server:
        tracing = TracingServerInterceptor(self._telemetry.tracer(_GRPC_SCOPE), self._telemetry.meter(_GRPC_SCOPE))
        requests = RequestInterceptor(self._validator, itemwise=handlers.ITEMWISE)
        limits = ServerLimits(max_concurrent_streams=self._config.limits.concurrent_streams)
        return create_server([tracing, requests], limits)


def _add_reflection(server: grpc.aio.Server, service: str) -> None:
    names = (service, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


def _in_background(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Runs some work until the stack ends."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
