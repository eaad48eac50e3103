"""Fits deploy/envoy/local.yaml to a machine: its ports, its replicas, its collector.

    python -m deploy.envoy.render --analyzer-port 50051 --analyzer-port 50052 --analyzer-port 50053 > envoy.yaml

Everything else, and why it is so, stands in that file.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ruamel.yaml import YAML

TEMPLATE = Path(__file__).with_name("local.yaml")
DESCRIPTOR_SET = Path(__file__).resolve().parents[2] / "protos" / "tinyroute.binpb"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Endpoint:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Reads host:port, or an http:// address with a port."""
        host, _, port = text.removeprefix("http://").rstrip("/").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{text!r} is not host:port")
        return cls(host, int(port))


@dataclass(frozen=True)
class EnvoyPorts:
    """What differs from one machine to another. Without a collector nothing is traced."""

    analyzers: tuple[int, ...] = (50051, 50052)
    router: int = 50050
    analyzer_listener: int = 50060
    front_listener: int = 8080
    admin: int = 9901
    collector: Endpoint | None = Endpoint(LOOPBACK, 4317)


def render(ports: EnvoyPorts) -> dict[str, Any]:
    """Returns the whole configuration, anchors resolved."""
    config: dict[str, Any] = YAML(typ="safe").load(TEMPLATE)
    config["admin"]["address"]["socket_address"]["port_value"] = ports.admin
    listeners = named(config["static_resources"]["listeners"])
    listeners["analyzers"]["address"]["socket_address"]["port_value"] = ports.analyzer_listener
    listeners["front"]["address"]["socket_address"]["port_value"] = ports.front_listener
    managers = [listener["filter_chains"][0]["filters"][0]["typed_config"] for listener in listeners.values()]
    transcoder = named(managers[1]["http_filters"])["envoy.filters.http.grpc_json_transcoder"]
    transcoder["typed_config"]["proto_descriptor"] = str(DESCRIPTOR_SET)
    clusters = named(config["static_resources"]["clusters"])
    point(clusters["analyzers"], [Endpoint(LOOPBACK, port) for port in ports.analyzers])
    point(clusters["router"], [Endpoint(LOOPBACK, ports.router)])
    if ports.collector is not None:
        point(clusters["otlp"], [ports.collector])
    else:
        config["static_resources"]["clusters"].remove(clusters["otlp"])
        for manager in managers:
            del manager["tracing"]
    return config


def named(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns items by their name, in their order."""
    return {item["name"]: item for item in items}


def point(cluster: dict[str, Any], endpoints: list[Endpoint]) -> None:
    """Sends a cluster's calls to these endpoints; names other than addresses are looked up."""
    if not all(re.fullmatch(r"[\d.]+", endpoint.host) for endpoint in endpoints):
        cluster["type"] = "STRICT_DNS"
    hosts = [{"address": host.host, "port_value": host.port} for host in endpoints]
    cluster["load_assignment"]["endpoints"] = [
        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": host}}} for host in hosts]}
    ]


def write(config: dict[str, Any], stream: TextIO) -> None:
    """Writes a configuration as Envoy reads it."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.representer.ignore_aliases = lambda _: True
    yaml.dump(config, stream)


def main() -> None:
    """Prints the configuration for the ports of the command line."""
    default = EnvoyPorts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--analyzer-port", type=int, action="append", help="one for each replica")
    parser.add_argument("--router-port", type=int, default=default.router)
    parser.add_argument("--analyzer-listener", type=int, default=default.analyzer_listener)
    parser.add_argument("--front-listener", type=int, default=default.front_listener)
    parser.add_argument("--admin", type=int, default=default.admin)
    parser.add_argument("--collector", type=Endpoint.parse, default=default.collector, help="OTLP over gRPC, host:port")
    given = parser.parse_args()
    ports = EnvoyPorts(
        analyzers=tuple(given.analyzer_port or default.analyzers),
        router=given.router_port,
        analyzer_listener=given.analyzer_listener,
        front_listener=given.front_listener,
        admin=given.admin,
        collector=given.collector,
    )
    write(render(ports), sys.stdout)


if __name__ == "__main__":
    main()
