"""The port of a cluster's Envoy that the kubelet and Prometheus see; the admin page stays on loopback."""

from typing import Any

STATUS_PORT = 9902
ADMIN_PORT = 9901

Config = dict[str, Any]


def with_status(config: Config) -> Config:
    """Adds a listener with /ready and /stats/prometheus, and nothing else of the admin page."""
    admin = {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [loopback(ADMIN_PORT)]}]},
    }
    routes: list[Config] = [
        {"match": {"path": "/stats/prometheus"}, "route": {"cluster": "admin"}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    config["static_resources"]["listeners"].append(status_listener(routes))
    config["static_resources"]["clusters"].append(admin)
    return config


def loopback(port: int) -> Config:
    """An endpoint in the same pod."""
    return {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}


def status_listener(routes: list[Config]) -> Config:
    """A listener whose /ready fails from the moment that the proxy was told to drain."""
    extensions = "type.googleapis.com/envoy.extensions.filters"
    ready = {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": f"{extensions}.http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": "/ready"}}],
        },
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{extensions}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "status",
        "route_config": {"virtual_hosts": [{"name": "status", "domains": ["*"], "routes": routes}]},
        "http_filters": [ready, router],
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": "status",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": STATUS_PORT}},
        "filter_chains": [{"filters": [network_filter]}],
    }
