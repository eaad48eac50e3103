"""What `make up` starts: the processes of one stack, with their commands, addresses and tests of readiness."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.envoy.render import Endpoint, EnvoyPorts, render, write
from deploy.local.health import envoy_ready, grpc_serving, http_ok
from deploy.local.ports import LOOPBACK, MAX_REPLICAS, StackPorts, ports_from
from deploy.local.processes import ProcessPlan, StackError

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
ANALYZER_SERVICE = "tinyroute.analyzer.v1.AnalyzerService"
ROUTER_SERVICE = "tinyroute.router.v1.RouterService"
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
MODEL_SERVER = "127.0.0.1:50070"
"""Where deploy/local/router.yaml expects the local model server."""


@dataclass(frozen=True)
class StackSettings:
    """What one stack is told."""

    replicas: int = 2
    config: Path = HERE / "router.yaml"
    analyzer_config: Path = HERE / "analyzer.yaml"
    run_folder: Path = ROOT / ".run"
    ports: StackPorts = field(default_factory=StackPorts)
    collector: str | None = None
    """The caller's own collector; None: the stack's."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "StackSettings":
        """Reads REPLICAS, CONFIG, ANALYZER_CONFIG, TINYROUTE_RUN, TINYROUTE_PORT_BASE and OpenTelemetry's endpoint."""
        default = cls()
        asked = environment.get("REPLICAS") or str(default.replicas)
        if not asked.isdecimal() or not 1 <= int(asked) <= MAX_REPLICAS:
            raise StackError(f"REPLICAS={asked} is no number from 1 to {MAX_REPLICAS}")
        try:
            ports = ports_from(environment)
        except ValueError as error:
            raise StackError(str(error)) from error
        return cls(
            replicas=int(asked),
            config=existing(environment.get("CONFIG") or default.config, "CONFIG"),
            analyzer_config=existing(environment.get("ANALYZER_CONFIG") or default.analyzer_config, "ANALYZER_CONFIG"),
            run_folder=Path(environment.get("TINYROUTE_RUN") or default.run_folder).resolve(),
            ports=ports,
            collector=environment.get(COLLECTOR) or None,
        )

    @property
    def threads(self) -> int:
        """Threads of each analyzer: the cores, shared out."""
        return max(1, (os.cpu_count() or 1) // self.replicas)


def existing(path: Path | str, variable: str) -> Path:
    """Returns a file's absolute path; raises StackError when there is none."""
    if not Path(path).is_file():
        raise StackError(f"{variable}={path}: there is no such file")
    return Path(path).resolve()


def process_plans(settings: StackSettings) -> Iterator[ProcessPlan]:
    """Yields the processes in the order of their start; the end is in the reverse order."""
    yield telemetry_plan(settings)
    yield model_server_plan(settings)
    for index in range(settings.replicas):
        yield analyzer_plan(settings, index)
    yield envoy_plan(settings)
    yield router_plan(settings)


def telemetry_plan(settings: StackSettings) -> ProcessPlan:
    """The receiver of traces."""
    ports = settings.ports
    page = f"{LOOPBACK}:{ports.otlp_http}"
    module = [sys.executable, "-m", "deploy.local.telemetry_sink"]
    return ProcessPlan(
        name="telemetry",
        role="telemetry",
        command=[*module, "--grpc-port", str(ports.otlp_grpc), "--http-port", str(ports.otlp_http)],
        address=page,
        ready=lambda: http_ok(f"http://{page}/api/traces?limit=0"),
        environment={},
    )


def model_server_plan(settings: StackSettings) -> ProcessPlan:
    """The small model that stands in for all tiers."""
    address = f"{LOOPBACK}:{settings.ports.model_server}"
    return ProcessPlan(
        name="model-server",
        role="model_server",
        command=[sys.executable, "-m", "deploy.local.model_server", "--port", str(settings.ports.model_server)],
        address=address,
        ready=lambda: http_ok(f"http://{address}/health"),
        environment={},
    )


def analyzer_plan(settings: StackSettings, index: int) -> ProcessPlan:
    """One analyzer, counted from 0."""
    ports = settings.ports
    address = f"{LOOPBACK}:{ports.first_analyzer + index}"
    prefix = "TINYROUTE_ANALYZER__"
    return ProcessPlan(
        name=f"analyzer-{index + 1}",
        role="analyzer",
        command=[str(BIN / "analyzer"), "serve", "--config", str(settings.analyzer_config)],
        address=address,
        ready=lambda: grpc_serving(address, ANALYZER_SERVICE),
        environment={
            f"{prefix}LISTEN__PORT": str(ports.first_analyzer + index),
            f"{prefix}ADMIN__PORT": str(ports.first_analyzer_admin + index),
            f"{prefix}METRICS__PORT": str(ports.first_analyzer_metrics + index),
            f"{prefix}MODEL__THREADS": str(settings.threads),
            **telemetry_environment(settings, f"analyzer-{index + 1}"),
        },
        stop_seconds=15,
    )


def envoy_plan(settings: StackSettings) -> ProcessPlan:
    """The proxy, its configuration written beside the logs."""
    ports = settings.ports
    admin = f"{LOOPBACK}:{ports.envoy_admin}"
    config = settings.run_folder / "envoy.yaml"
    analyzers = tuple(ports.first_analyzer + index for index in range(settings.replicas))
    with config.open("w") as stream:
        envoy = EnvoyPorts(
            analyzers=analyzers,
            router=ports.router,
            analyzer_listener=ports.analyzer_listener,
            front_listener=ports.front_listener,
            admin=ports.envoy_admin,
            collector=collector_endpoint(settings),
        )
        write(render(envoy), stream)
    options = ["--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]
    return ProcessPlan(
        name="envoy",
        role="envoy",
        command=[str(BIN / "envoy"), "-c", str(config), *options],
        address=f"{LOOPBACK}:{ports.analyzer_listener}",
        ready=lambda: envoy_ready(admin, settings.replicas),
        environment={},
    )


def collector_endpoint(settings: StackSettings) -> Endpoint:
    """Returns where Envoy sends its spans."""
    if settings.collector is None:
        return Endpoint(LOOPBACK, settings.ports.otlp_grpc)
    try:
        return Endpoint.parse(settings.collector)
    except ValueError as error:
        raise StackError(f"{COLLECTOR}={settings.collector}: Envoy needs http://host:port") from error


def router_plan(settings: StackSettings) -> ProcessPlan:
    """The router."""
    ports = settings.ports
    address = f"{LOOPBACK}:{ports.router}"
    prefix = "TINYROUTE_ROUTER__"
    return ProcessPlan(
        name="router",
        role="router",
        command=[str(BIN / "router"), "serve", "--config", str(router_config(settings))],
        address=address,
        ready=lambda: grpc_serving(address, ROUTER_SERVICE),
        environment={
            f"{prefix}LISTEN__PORT": str(ports.router),
            f"{prefix}LISTEN__ADMIN_PORT": str(ports.router_admin),
            f"{prefix}LISTEN__METRICS_PORT": str(ports.router_metrics),
            f"{prefix}ANALYZER__TARGET": f"{LOOPBACK}:{ports.analyzer_listener}",
            f"{prefix}LEDGER__FOLDER": str(settings.run_folder / "router"),
            **telemetry_environment(settings, "router"),
        },
        stop_seconds=25,
    )


def router_config(settings: StackSettings) -> Path:
    """Returns the router's file; on ports of its own, a copy that names this stack's model server, line for line."""
    if settings.ports.model_server == StackPorts().model_server:
        return settings.config
    copy = settings.run_folder / "router.yaml"
    copy.write_text(settings.config.read_text().replace(MODEL_SERVER, f"{LOOPBACK}:{settings.ports.model_server}"))
    return copy


def telemetry_environment(settings: StackSettings, instance: str) -> dict[str, str]:
    """Returns where a process sends its traces, and by which name it is known there."""
    endpoint = settings.collector or f"http://{LOOPBACK}:{settings.ports.otlp_grpc}"
    # The stack's own receiver drops metrics, which are at /metrics: aggregating them twice would be for nothing.
    spans_alone = {} if settings.collector else {"OTEL_METRICS_EXPORTER": "none"}
    return {
        **spans_alone,
        COLLECTOR: endpoint,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={instance}",
        # Default 5000: whoever looks at a trace on this machine wants it now.
        "OTEL_BSP_SCHEDULE_DELAY": os.environ.get("OTEL_BSP_SCHEDULE_DELAY", "500"),
    }
