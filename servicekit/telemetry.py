"""OpenTelemetry for one service: providers, exporters and the Prometheus endpoint, none of which may delay a caller.

The standard OTEL_* variables win over the configuration. Nothing is exported unless an endpoint is configured. A
collector that is slow, hung or gone costs spans, never time: they wait in bounded memory for a thread of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, ExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider, Tracer
from prometheus_client import CollectorRegistry, start_http_server

from servicekit.serving import BindError, bind_sentence

_log = structlog.get_logger(__name__)

_PREFIX = "OTEL_EXPORTER_OTLP_"

Endpoint = tuple[Any, int]


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What a service says of itself, and where it sends that."""

    service_name: str
    service_version: str = ""
    otlp_endpoint: str | None = None
    """OTLP over gRPC, as `http://host:4317`; None: only where the environment names one."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """Port of `/metrics`; 0: any free one; None: no endpoint."""

    shutdown_seconds: float = 2.0
    """Longest that the last flush may hold up the end of the process."""


class Telemetry:
    """Running providers of one service."""

    def __init__(
        self, settings: TelemetrySettings, tracers: Any, meters: Any, endpoint: tuple[Any, int] | None
    ) -> None:
        self._settings = settings
        self._tracers = tracers
        self._meters = meters
        self._endpoint = endpoint

    def __repr__(self) -> str:
        return f"<Telemetry {self._settings.service_name}: metrics port {self.metrics_port}>"

    @property
    def metrics_port(self) -> int | None:
        """The port that `/metrics` answers on."""
        return self._endpoint[1] if self._endpoint else None

    def tracer(self, name: str) -> Tracer:
        """Returns the tracer of a module."""
        tracer: Tracer = self._tracers.get_tracer(name, self._settings.service_version)
        return tracer

    def meter(self, name: str) -> Meter:
        """Returns the meter of a module."""
        meter: Meter = self._meters.get_meter(name, self._settings.service_version)
        return meter

    async def close(self) -> None:
        """Flushes what can be flushed in `shutdown_seconds` (the SDK's own shutdown may take 30 s), then lets go."""
        if self._endpoint is not None:
            self._endpoint[0].shutdown()
            self._endpoint[0].server_close()
        closers = [each.shutdown for each in (self._tracers, self._meters) if hasattr(each, "shutdown")]
        done = [_in_daemon_thread(close) for close in closers]
        if not done:
            return
        _, late = await asyncio.wait(done, timeout=self._settings.shutdown_seconds)
        if late:
            _log.warning("telemetry not flushed in time", seconds=self._settings.shutdown_seconds)


def start_telemetry(settings: TelemetrySettings, environment: Mapping[str, str]) -> Telemetry:
    """Returns running providers; raises BindError when the metrics port can't be opened."""
    resource = _resource(settings, environment)
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    registry = CollectorRegistry()
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry)]
    readers += [] if disabled else _otlp_readers(settings, environment)
    meters = MeterProvider(readers, resource, exemplar_filter=_exemplars(environment), shutdown_on_exit=False)
    tracers = NoOpTracerProvider() if disabled else _tracer_provider(settings, environment, resource)
    return Telemetry(settings, tracers, meters, _metrics_endpoint(settings, registry))


def _exemplars(environment: Mapping[str, str]) -> ExemplarFilter | None:
    """Returns none at all unless asked for: they are a third of what a measurement costs, and Prometheus drops them."""
    return None if environment.get("OTEL_METRICS_EXEMPLAR_FILTER") else AlwaysOffExemplarFilter()


def _resource(settings: TelemetrySettings, environment: Mapping[str, str]) -> Resource:
    attributes = {"service.name": environment.get("OTEL_SERVICE_NAME") or settings.service_name}
    if settings.service_version:
        attributes["service.version"] = settings.service_version
    return Resource.create(attributes)


def _tracer_provider(settings: TelemetrySettings, environment: Mapping[str, str], resource: Resource) -> TracerProvider:
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    endpoint = _endpoint("TRACES", settings, environment)
    if endpoint is not None:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def _otlp_readers(settings: TelemetrySettings, environment: Mapping[str, str]) -> list[MetricReader]:
    endpoint = _endpoint("METRICS", settings, environment)
    return [] if endpoint is None else [PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint))]


def _endpoint(signal: str, settings: TelemetrySettings, environment: Mapping[str, str]) -> str | None:
    """Returns where a signal (TRACES, METRICS) goes; None when nowhere."""
    if environment.get(f"OTEL_{signal}_EXPORTER", "otlp").strip().lower() in ("none", ""):
        return None
    endpoint = (
        environment.get(f"{_PREFIX}{signal}_ENDPOINT")
        or environment.get(f"{_PREFIX}ENDPOINT")
        or settings.otlp_endpoint
    )
    if not endpoint:
        return None
    protocol = environment.get(f"{_PREFIX}{signal}_PROTOCOL") or environment.get(f"{_PREFIX}PROTOCOL") or "grpc"
    if protocol != "grpc":
        _log.warning("only OTLP over gRPC is spoken here", asked=protocol, signal=signal.lower())
    return endpoint if "://" in endpoint else f"http://{endpoint}"


def _metrics_endpoint(settings: TelemetrySettings, registry: CollectorRegistry) -> Endpoint | None:
    if settings.metrics_port is None:
        return None
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        raise BindError(f"metrics: {bind_sentence(settings.metrics_host, settings.metrics_port, error)}") from error
    return server, server.server_port


def _in_daemon_thread(work: Callable[[], Any]) -> asyncio.Future[Any]:
    """Runs blocking work where it can't hold up the end of the process."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever waits is given it
            outcome.set_exception(error)

    threading.Thread(target=run, name="telemetry-shutdown", daemon=True).start()
    return asyncio.wrap_future(outcome)
