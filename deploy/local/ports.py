"""Where each part of the local stack listens, all on loopback."""

import errno
import os
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
MAX_REPLICAS = 9
PORT_BASE = "TINYROUTE_PORT_BASE"
PORT_COUNT = 40
"""Ports from the base on that a stack may take."""


@dataclass(frozen=True)
class StackPorts:
    """The documented ports. Of replicas, the port of the first one; the others follow."""

    router: int = 50050
    router_admin: int = 50150
    router_metrics: int = 9464
    first_analyzer: int = 50051
    first_analyzer_admin: int = 50151
    first_analyzer_metrics: int = 9465
    analyzer_listener: int = 50060
    front_listener: int = 8080
    envoy_admin: int = 9901
    otlp_grpc: int = 4317
    otlp_http: int = 4318
    model_server: int = 50070

    @classmethod
    def starting_at(cls, base: int) -> "StackPorts":
        """Forty ports in a row, for a second stack on the same machine."""
        return cls(
            router=base,
            router_admin=base + 1,
            router_metrics=base + 2,
            analyzer_listener=base + 3,
            front_listener=base + 4,
            envoy_admin=base + 5,
            otlp_grpc=base + 6,
            otlp_http=base + 7,
            model_server=base + 8,
            first_analyzer=base + 10,
            first_analyzer_admin=base + 20,
            first_analyzer_metrics=base + 30,
        )

    def all(self, replicas: int) -> Iterator[tuple[str, int]]:
        """Yields every port with what it is for."""
        yield "the router", self.router
        yield "the router's admin services", self.router_admin
        yield "the router's metrics", self.router_metrics
        for index in range(replicas):
            yield f"analyzer {index + 1}", self.first_analyzer + index
            yield f"the admin services of analyzer {index + 1}", self.first_analyzer_admin + index
            yield f"the metrics of analyzer {index + 1}", self.first_analyzer_metrics + index
        yield "Envoy in front of the analyzers", self.analyzer_listener
        yield "Envoy in front of the router", self.front_listener
        yield "Envoy's admin page", self.envoy_admin
        yield "traces over gRPC", self.otlp_grpc
        yield "the trace page", self.otlp_http
        yield "the local model server", self.model_server


def ports_from(environment: Mapping[str, str]) -> StackPorts:
    """Returns the documented ports, or those from TINYROUTE_PORT_BASE on; raises ValueError when that is no port."""
    base = environment.get(PORT_BASE)
    if not base:
        return StackPorts()
    if not base.isdecimal() or not 1024 <= int(base) <= 65535 - PORT_COUNT:  # noqa: PLR2004 - what ports are
        raise ValueError(f"{PORT_BASE}={base} is no port from 1024 to {65535 - PORT_COUNT}")
    return StackPorts.starting_at(int(base))


def taken(ports: StackPorts, replicas: int) -> list[str]:
    """Returns a sentence for each port that can't be opened."""
    return [
        f"port {port} (for {purpose}) {reason}"
        for purpose, port in ports.all(replicas)
        if (reason := why_not(port)) is not None
    ]


def free_ports(replicas: int) -> StackPorts:
    """Returns ports in a row of which none is taken at this moment; raises OSError when there are none."""
    for _ in range(100):
        ports = StackPorts.starting_at(random.randrange(20_000, 32_000 - PORT_COUNT))  # noqa: S311 - no secret
        if not taken(ports, replicas):
            return ports
    raise OSError("no 40 free ports in a row from 20000 to 32000")


def why_not(port: int) -> str | None:
    """Returns why a port can't be opened; None when it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
    return None
