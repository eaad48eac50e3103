"""The rendered Envoy configuration: what differs between machines, and that Envoy takes it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tinyroute.analyzer.v1 import analyzer_pb2
from tinyroute.router.v1 import router_pb2

from deploy.envoy.render import TEMPLATE, Endpoint, EnvoyPorts, render, write

ROOT = Path(__file__).resolve().parents[3]
ENVOY = Path(sys.executable).with_name("envoy")


def validate(config: Path) -> str:
    """Returns what Envoy says of a configuration that it takes."""
    command = [ENVOY, "--mode", "validate", "-c", config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def routes(config: dict[str, Any], listener: int) -> list[dict[str, Any]]:
    """Returns the routes of a listener."""
    manager = config["static_resources"]["listeners"][listener]["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


@pytest.mark.parametrize("ports", [None, EnvoyPorts(analyzers=(1, 2, 3), collector=None), EnvoyPorts()], ids=str)
def test_envoy_takes_the_configuration_and_finds_nothing_deprecated(tmp_path: Path, ports: EnvoyPorts | None) -> None:
    """As it stands in the repository, and rendered with and without a collector."""
    config = TEMPLATE
    if ports is not None:
        config = tmp_path / "envoy.yaml"
        with config.open("w") as stream:
            write(render(ports), stream)
    said = validate(config)
    assert not re.search("deprecated", said, re.IGNORECASE)


def test_the_defaults_are_those_of_the_file() -> None:
    """Rendering with nothing given changes nothing but the descriptor set's path."""
    rendered, written = render(EnvoyPorts()), YAML(typ="safe").load(TEMPLATE)
    for config in (rendered, written):
        manager = config["static_resources"]["listeners"][1]["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["http_filters"][0]["typed_config"]["proto_descriptor"]
    assert rendered == written


def test_every_replica_is_an_endpoint() -> None:
    """In the order given."""
    clusters = render(EnvoyPorts(analyzers=(7, 8, 9)))["static_resources"]["clusters"]
    hosts = clusters[0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert [host["endpoint"]["address"]["socket_address"]["port_value"] for host in hosts] == [7, 8, 9]


def test_a_collector_by_name_is_looked_up() -> None:
    """Names need DNS, addresses must not."""
    clusters = render(EnvoyPorts(collector=Endpoint.parse("http://collector:4317")))["static_resources"]["clusters"]
    assert [cluster["type"] for cluster in clusters] == ["STATIC", "STATIC", "STRICT_DNS"]


@pytest.mark.parametrize("text", ["collector", "http://collector", ":4317", "host:port"])
def test_an_address_without_a_port_is_refused(text: str) -> None:
    """With the text in the message."""
    with pytest.raises(ValueError, match=re.escape(text)):
        Endpoint.parse(text)


def test_the_routes_name_every_method_of_the_protos() -> None:
    """A method that is added to a service and forgotten here would be UNIMPLEMENTED behind Envoy."""
    config = render(EnvoyPorts())
    analyzer = analyzer_pb2.DESCRIPTOR.services_by_name["AnalyzerService"]
    paths = [route["match"].get("path", "") for route in routes(config, 0)]
    assert {f"/{analyzer.full_name}/{method.name}" for method in analyzer.methods} <= set(paths)
    router = router_pb2.DESCRIPTOR.services_by_name["RouterService"]
    pattern = routes(config, 1)[0]["match"]["safe_regex"]["regex"]
    for method in router.methods:
        assert re.fullmatch(pattern, f"/{router.full_name}/{method.name}")
