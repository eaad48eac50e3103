"""What pods are told agrees with what services read: configuration, ports, probes, and the time they get to stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from analyzer.settings import ENVIRONMENT_PREFIX as ANALYZER_PREFIX
from analyzer.settings import AnalyzerConfig
from router.settings import ENVIRONMENT_PREFIX as ROUTER_PREFIX
from router.settings import RouterSettings
from servicekit.config import load_config
from servicekit.health import LIVENESS, HealthServicer
from servicekit.telemetry import TelemetrySettings
from tests.support.k8s import FOLDERS, Manifest, config_file, container, pod_specs, render

ANALYZER_SERVICE = "tinyroute.analyzer.v1.AnalyzerService"
ROUTER_SERVICE = "tinyroute.router.v1.RouterService"
LEDGER_SECONDS = 5

every_overlay = pytest.mark.parametrize("overlay", FOLDERS)


def analyzer_config(manifests: list[Manifest], folder: Path) -> AnalyzerConfig:
    """The analyzer's configuration, as its pod reads it."""
    file = folder / "analyzer.yaml"
    file.write_text(config_file(manifests, "analyzer-config", "analyzer.yaml"))
    return load_config(AnalyzerConfig, file, environment(manifests, "analyzer"), ANALYZER_PREFIX)


def router_config(manifests: list[Manifest], folder: Path) -> RouterSettings:
    """The router's configuration, as its pod reads it."""
    file = folder / "router.yaml"
    file.write_text(config_file(manifests, "router-config", "router.yaml"))
    return load_config(RouterSettings, file, environment(manifests, "router"), ROUTER_PREFIX)


def environment(manifests: list[Manifest], service: str) -> dict[str, str]:
    """The variables that a service's container sets itself."""
    return {each["name"]: each["value"] for each in container(manifests, service, service)["env"] if "value" in each}


def ports(manifests: list[Manifest], deployment: str, name: str) -> dict[str, int]:
    """A container's ports by their names."""
    return {each["name"]: each["containerPort"] for each in container(manifests, deployment, name)["ports"]}


@every_overlay
def test_the_analyzer_reads_its_configuration(overlay: str, tmp_path: Path) -> None:
    """And listens where its ports say; ModelService on loopback alone, reflection with it."""
    manifests = render(overlay)
    config = analyzer_config(manifests, tmp_path)
    assert ports(manifests, "analyzer", "analyzer") == {
        "grpc": config.listen.port,
        "admin": config.admin.port,
        "metrics": config.metrics.port,
    }
    assert (config.listen.host, config.admin.host) == ("0.0.0.0", "127.0.0.1")
    assert not config.reflection
    assert config.model.threads == 1


@every_overlay
def test_the_router_reads_its_configuration(overlay: str, tmp_path: Path) -> None:
    """And calls the analyzers through the Envoy beside it."""
    manifests = render(overlay)
    config = router_config(manifests, tmp_path)
    assert ports(manifests, "router", "router") == {
        "grpc": config.listen.port,
        "admin": config.listen.admin_port,
        "metrics": config.listen.metrics_port,
    }
    assert config.listen.host == "0.0.0.0"
    assert config.analyzer.target == "127.0.0.1:50060"
    mounted = {each["mountPath"] for each in container(manifests, "router", "router")["volumeMounts"]}
    assert str(config.ledger.folder) in mounted


@every_overlay
def test_pods_have_longer_to_stop_than_their_services_take(overlay: str, tmp_path: Path) -> None:
    """Drain, calls in flight, the ledger and the last spans, with some seconds to spare."""
    manifests = render(overlay)
    flush = TelemetrySettings("any").shutdown_seconds
    analyzer, router = analyzer_config(manifests, tmp_path).stop, router_config(manifests, tmp_path).drain
    grace = {name: pod["terminationGracePeriodSeconds"] for name, pod in pod_specs(manifests).items()}
    assert grace["analyzer"] >= analyzer.quiet_seconds + analyzer.grace_seconds + flush + 5
    assert grace["router"] >= router.notice_seconds + router.grace_seconds + LEDGER_SECONDS + flush + 5


@every_overlay
@pytest.mark.parametrize(("name", "service"), [("analyzer", ANALYZER_SERVICE), ("router", ROUTER_SERVICE)])
def test_probes_ask_what_they_are_for(overlay: str, name: str, service: str) -> None:
    """Start and readiness ask for the service, SERVING after a real pass; liveness whether the event loop answers."""
    served = container(render(overlay), name, name)
    port = {each["name"]: each["containerPort"] for each in served["ports"]}["grpc"]
    for probe in ("startupProbe", "readinessProbe"):
        assert served[probe]["grpc"] == {"port": port, "service": service}
    assert served["livenessProbe"]["grpc"] == {"port": port, "service": LIVENESS}
    assert served["livenessProbe"]["periodSeconds"] * served["livenessProbe"]["failureThreshold"] >= 30


async def test_liveness_is_answered_before_and_after_serving() -> None:
    """A replica that loads, or drains, is alive: it must not be started anew."""
    health = HealthServicer([ANALYZER_SERVICE])
    request = health_pb2.HealthCheckRequest(service=LIVENESS)
    loading = await health.Check(request, None)
    health.close()
    draining = await health.Check(request, None)
    assert loading.status == draining.status == health_pb2.HealthCheckResponse.SERVING
