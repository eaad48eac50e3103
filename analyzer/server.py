"""The composition root of the analyzer: everything is made, joined, started and stopped here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_reflection.v1alpha import reflection
from tinyroute.analyzer.v1 import analyzer_pb2_grpc, model_pb2_grpc

from analyzer.adapters import handlers, model_handlers
from analyzer.adapters.modelstore import ModelStore, RevisionNotFoundError, default_root
from analyzer.adapters.telemetry import TelemetryObserver
from analyzer.analyzing import PromptAnalyzer
from analyzer.backlog import BacklogSettings
from analyzer.batching import BatchSettings, MicroBatcher, running
from analyzer.caching import AnalysisCache, CacheSettings
from analyzer.conversation import Message, Prompt
from analyzer.false_hits import FalseHitSettings
from analyzer.loading import LOAD_ERRORS, Loaded, ModelLoader
from analyzer.models import Models
from analyzer.observing import RevisionActivated
from analyzer.settings import AnalyzerConfig
from analyzer.switching import ModelSwitch, RevisionFacts
from servicekit.deadline import Deadline
from servicekit.errors import FailedPrecondition, NotFound
from servicekit.health import HealthServicer
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import DrainSettings, ServerLimits, StopSignals, bind, create_server, drain
from servicekit.telemetry import Telemetry, TelemetrySettings, start_telemetry
from servicekit.tracing import TracingServerInterceptor
from servicekit.validation import MessageValidator

SERVICE_NAME = "tinyroute-analyzer"
SCOPE = "tinyroute.analyzer"
_FIRST_PASS_SECONDS = 30.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """A service that answers: its ports, and the revision that does."""

    port: int
    admin_port: int
    metrics_port: int | None
    revision: str


Announce = Callable[[Ready], None]


async def serve(config: AnalyzerConfig, environment: Mapping[str, str], announce: Announce | None = None) -> None:
    """Runs the analyzer until it is told to stop.

    Raises BindError, LoadError or ModelStoreError, each with a message that says what to do, and Stopped when the stop
    came before it was ready.
    """
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        telemetry = start_telemetry(_telemetry_settings(config), environment)
        stack.push_async_callback(telemetry.close)
        parts = _Parts(config, environment, telemetry)
        running(parts.batcher, stack)
        stack.push_async_callback(parts.analyzer.close)
        ports = await parts.start_servers(stack)
        ready = await signals.unless_asked(parts.load(ports, telemetry.metrics_port))
        if announce is not None:
            announce(ready)
        await signals.wait()
        await drain(parts.servers, parts.health, DrainSettings(config.stop.quiet_seconds, config.stop.grace_seconds))


class _Parts:
    """What one service is made of."""

    def __init__(self, config: AnalyzerConfig, environment: Mapping[str, str], telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._observer = TelemetryObserver(
            telemetry.tracer("tinyroute.analyzer"), telemetry.meter("tinyroute.analyzer")
        )
        self._loader = ModelLoader(ModelStore(config.model.store or default_root(environment)), config.model.threads)
        self.batcher = MicroBatcher(_batch_settings(config), self._observer)
        self._models = Models(forward_pass_count=lambda: self.batcher.pass_count)
        self.analyzer = PromptAnalyzer(
            self._models,
            self.batcher,
            AnalysisCache(_cache_settings(config)),
            false_hits=FalseHitSettings(config.cache.checked_share, config.cache.most_wrong_share),
            observer=self._observer,
        )
        self.health = HealthServicer([handlers.SERVICE, model_handlers.SERVICE])
        self.servers: list[grpc.aio.Server] = []

    async def start_servers(self, stack: AsyncExitStack) -> tuple[int, int]:
        """Opens both ports, NOT_SERVING; returns their numbers."""
        config, validator = self._config, MessageValidator()
        public, admin = self._server(validator), self._server(validator)
        handler = handlers.AnalyzerHandler(self.analyzer, validator, config.limits)
        analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(handler, public)
        switch = ModelSwitch(self._models, _StoreShelf(self._loader), self._observer)
        model_pb2_grpc.add_ModelServiceServicer_to_server(model_handlers.ModelHandler(switch), admin)
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
        self._models.active = loaded.model
        prompt = (Message("user", "What is the capital of France?"),)
        await self.analyzer.analyze(Prompt(prompt, "", Deadline.after(_FIRST_PASS_SECONDS), bypass_cache=True))
        self._observer.revision_activated(RevisionActivated(loaded.model.revision, None))
        self.health.set_serving(serving=True)
        _log.info("serving", port=ports[0], admin_port=ports[1], p99_64_tokens_ms=round(loaded.p99_seconds * 1000, 1))
        return Ready(ports[0], ports[1], metrics_port, loaded.model.revision)

    def _server(self, validator: MessageValidator) -> grpc.aio.Server:
        tracing = TracingServerInterceptor(
            self._telemetry.tracer("tinyroute.grpc"), self._telemetry.meter("tinyroute.grpc")
        )
        requests = RequestInterceptor(validator, itemwise=handlers.ITEMWISE)
        limits = ServerLimits(max_concurrent_streams=self._config.limits.concurrent_streams)
        return create_server([tracing, requests], limits)


class _StoreShelf:
    """The model store as operators' calls see it: its errors are theirs."""

    def __init__(self, loader: ModelLoader) -> None:
        self._loader = loader

    def list_revisions(self) -> list[RevisionFacts]:
        """Returns all revisions, newest first."""
        store = self._loader.store
        facts = [_facts(store.open(name).path, store.open(name).manifest) for name in store.names()]
        return sorted(facts, key=lambda each: -each.created_at)

    def load(self, name: str) -> Loaded:
        """Loads one; the store's errors become statuses."""
        try:
            return self._loader.load(name)
        except RevisionNotFoundError as error:
            raise NotFound("UNKNOWN_REVISION", f"There is no revision {name} in this replica's store.") from error
        except LOAD_ERRORS as error:
            raise FailedPrecondition("REVISION_UNFIT", str(error)) from error


def _facts(path: Path, manifest: Any) -> RevisionFacts:
    return RevisionFacts(
        name=manifest.revision,
        base_model=manifest.base.name,
        layer_count=manifest.architecture.layers_kept,
        judge="head" if manifest.judge == "head" else "label",
        created_at=(path / "manifest.json").stat().st_mtime,
    )


def _add_reflection(server: grpc.aio.Server, service: str) -> None:
    names = (service, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


def _telemetry_settings(config: AnalyzerConfig) -> TelemetrySettings:
    return TelemetrySettings(
        service_name=SERVICE_NAME,
        service_version=version("tinyroute"),
        otlp_endpoint=config.telemetry.otlp_endpoint,
        metrics_host=config.metrics.host,
        metrics_port=config.metrics.port,
    )


def _batch_settings(config: AnalyzerConfig) -> BatchSettings:
    batching = config.batching
    backlog = BacklogSettings(
        tokens_a_batch=batching.tokens_a_batch,
        prompts_a_batch=batching.prompts_a_batch,
        most_waiting=batching.most_waiting,
        longest_wait_seconds=batching.longest_wait_seconds,
        bulk_tokens_a_batch=batching.bulk_tokens_a_batch,
    )
    return BatchSettings(backlog, batching.longest_window_ms / 1000)


def _cache_settings(config: AnalyzerConfig) -> CacheSettings:
    cache = config.cache
    return CacheSettings(cache.exact_megabytes * 2**20, cache.similar_megabytes * 2**20, cache.similar)
