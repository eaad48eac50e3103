"""Makes the cluster's Envoy configurations from the local one, so that resilience is settled in one file.

    python -m deploy.k8s.envoy

Each router has a sidecar towards the analyzers; a front Deployment serves callers. Every retry, health check, breaker
and deadline comes from deploy/envoy/local.yaml; what differs in a cluster is here, with its reason. The results are
committed, since Kustomize reads files, and a test compares them with a new rendering.
"""

import io
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

from deploy.envoy.render import DESCRIPTOR_SET, Endpoint, EnvoyPorts, named, point, render, write
from deploy.k8s.envoy_status import with_status

HERE = Path(__file__).resolve().parent
NAMESPACE = "tinyroute"
CONFIG_FOLDER = "/etc/envoy"
EDS_FOLDER = "/etc/envoy-eds"
TLS_FOLDER = "/etc/envoy-tls"
ANALYZERS = Endpoint(f"analyzer.{NAMESPACE}.svc.cluster.local", 50051)
ROUTERS = Endpoint(f"router.{NAMESPACE}.svc.cluster.local", 50050)
COLLECTOR = Endpoint("otel-collector.monitoring.svc.cluster.local", 4317)
ROUTER_SERVICE = "tinyroute.router.v1.RouterService"
HEADER = "# Made by `python -m deploy.k8s.envoy` out of deploy/envoy/local.yaml, where the reasons stand: edit that.\n"

Config = dict[str, Any]


def sidecar() -> Config:
    """Beside each router: its way to the analyzers, on loopback."""
    config = only(render(EnvoyPorts(collector=COLLECTOR)), listener="analyzers", clusters=("analyzers", "otlp"))
    config["node"]["id"] = "tinyroute-sidecar"
    discover(named(config["static_resources"]["clusters"])["analyzers"], ANALYZERS)
    return with_status(config)


def front() -> Config:
    """Before the routers: gRPC and JSON for callers."""
    config = only(render(EnvoyPorts(collector=COLLECTOR)), listener="front", clusters=("analyzers", "router", "otlp"))
    config["node"]["id"] = "tinyroute-front"
    clusters = named(config["static_resources"]["clusters"])
    analyzers = clusters["analyzers"]
    config["static_resources"]["clusters"].remove(analyzers)
    router = clusters["router"]
    # Several routers, which come and go: what finds sick analyzers finds sick routers.
    router["health_checks"] = deepcopy(analyzers["health_checks"])
    router["health_checks"][0]["grpc_health_check"]["service_name"] = ROUTER_SERVICE
    router["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    discover(router, ROUTERS)
    listener = config["static_resources"]["listeners"][0]
    listener["address"]["socket_address"]["address"] = "0.0.0.0"
    routes = manager_of(listener)["route_config"]["virtual_hosts"][0]["routes"]
    routes[:] = [route for route in routes if route["match"].get("prefix") != "/grpc.reflection."]
    for route in routes:
        if "max_stream_duration" in route.get("route", {}):
            # A router that stops refuses what it has not begun; that alone is safe to send to the next one.
            route["route"]["retry_policy"] = {"retry_on": "connect-failure,refused-stream", "num_retries": 2}
    transcoder = named(manager_of(listener)["http_filters"])["envoy.filters.http.grpc_json_transcoder"]
    transcoder["typed_config"]["proto_descriptor"] = f"{CONFIG_FOLDER}/tinyroute.binpb"
    return with_status(config)


def only(config: Config, *, listener: str, clusters: tuple[str, ...]) -> Config:
    """Leaves out the other listener and what only it needs."""
    resources = config["static_resources"]
    resources["listeners"] = [named(resources["listeners"])[listener]]
    resources["clusters"] = [each for each in resources["clusters"] if each["name"] in clusters]
    return deepcopy(config)  # anchors of the template are one object: changes must not show elsewhere


def manager_of(listener: Config) -> Config:
    """Returns the settings of a listener's HTTP connection manager."""
    settings: Config = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return settings


def discover(cluster: Config, service: Endpoint) -> None:
    """Finds the pods behind a headless Service by name; health checks say which of them are fit."""
    point(cluster, [service])
    del cluster["type"]
    settings = {
        "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
        "dns_refresh_rate": "2s",  # the cluster's own DNS answers from memory
        "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "2s"},
    }
    cluster["cluster_type"] = {"name": "envoy.cluster.dns", "typed_config": settings}


def from_file(config: Config, cluster_name: str) -> Config:
    """Returns the configuration with a cluster's pods in an EDS file, for clusters without DNS."""
    config = deepcopy(config)
    cluster = named(config["static_resources"]["clusters"])[cluster_name]
    del cluster["load_assignment"], cluster["cluster_type"]
    source = {"path": f"{EDS_FOLDER}/{cluster_name}.json", "watched_directory": {"path": EDS_FOLDER}}
    cluster["type"] = "EDS"
    cluster["ignore_health_on_host_removal"] = True  # the file lists those that stop, too: who is not in it is gone
    cluster["eds_cluster_config"] = {"service_name": cluster_name, "eds_config": {"path_config_source": source}}
    return config


def with_tls(config: Config) -> Config:
    """Returns the front with TLS for callers; the certificate is read again whenever its Secret changes."""
    config = deepcopy(config)
    secret = {
        "name": "server",
        "sds_config": {"path_config_source": {"path": f"{CONFIG_FOLDER}/certificate.yaml"}},
    }
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [secret],
        },
    }
    listener = named(config["static_resources"]["listeners"])["front"]
    listener["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": context,
    }
    return config


def certificate() -> Config:
    """Where the front's certificate is, in the form of Envoy's secret discovery."""
    secret = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "server",
        "tls_certificate": {
            "certificate_chain": {"filename": f"{TLS_FOLDER}/tls.crt"},
            "private_key": {"filename": f"{TLS_FOLDER}/tls.key"},
            "watched_directory": {"path": TLS_FOLDER},
        },
    }
    return {"resources": [secret]}


def files() -> dict[str, Config]:
    """Returns every configuration by its path under deploy/k8s."""
    return {
        "base/envoy/sidecar.yaml": sidecar(),
        "base/envoy/front.yaml": front(),
        "overlays/production/envoy/front.yaml": with_tls(front()),
        "overlays/production/envoy/certificate.yaml": certificate(),
        "overlays/lab/envoy/sidecar.yaml": from_file(sidecar(), "analyzers"),
        "overlays/lab/envoy/front.yaml": from_file(front(), "router"),
    }


def text(config: Config) -> str:
    """Returns a configuration as it stands in its file."""
    stream = io.StringIO(HEADER)
    stream.seek(0, io.SEEK_END)
    write(config, stream)
    return stream.getvalue()


def main() -> None:
    """Writes all files, and the description of the services that JSON is transcoded by."""
    for path, config in files().items():
        target = HERE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text(config))
    shutil.copyfile(DESCRIPTOR_SET, HERE / "base/envoy/tinyroute.binpb")


if __name__ == "__main__":
    main()
