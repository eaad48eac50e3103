"""Whether a part of the stack serves, asked the way its callers would."""

import json
import urllib.error
import urllib.request
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 1.0

_SERVING = health_pb2.HealthCheckResponse.SERVING


def grpc_serving(address: str, service: str) -> str | None:
    """Returns None when a gRPC server says that a service is SERVING, else what it says."""
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return f"no health from {address}: {error.code().name}"
    return None if answer.status == _SERVING else f"{service} at {address} says NOT_SERVING"


def http_ok(url: str) -> str | None:
    """Returns None when a GET answers 200, else what happened."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310 - an http address of ours
            return None
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"


def envoy_ready(admin: str, analyzers: int) -> str | None:
    """Returns None when Envoy is live and holds that many analyzers and the router for healthy."""
    if (missing := http_ok(f"http://{admin}/ready")) is not None:
        return missing
    url = f"http://{admin}/clusters?format=json"
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
        clusters = json.load(answer)["cluster_statuses"]
    healthy = {cluster["name"]: sum(map(is_healthy, cluster.get("host_statuses", []))) for cluster in clusters}
    if healthy.get("analyzers", 0) < analyzers:
        return f"Envoy finds {healthy.get('analyzers', 0)} of {analyzers} analyzers healthy"
    return None


def is_healthy(host: dict[str, Any]) -> bool:
    """Whether Envoy sends calls to a host."""
    status = host.get("health_status", {})
    return status.get("eds_health_status") == "HEALTHY" and not any(
        value is True for key, value in status.items() if key.startswith(("failed_", "pending_"))
    )
