"""The cluster's Envoy configurations: made from the local one, valid, and with its resilience."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.envoy.render import DESCRIPTOR_SET, Endpoint, EnvoyPorts, named, point, render
from deploy.k8s.envoy import certificate, files, front, manager_of, sidecar, text
from tests.support.free_ports import free_port_base
from tests.support.k8s import K8S

ENVOY = Path(sys.executable).with_name("envoy")
MADE = files()

Config = dict[str, Any]


@pytest.mark.parametrize("path", MADE)
def test_files_are_what_the_local_configuration_makes(path: str) -> None:
    """Otherwise: `python -m deploy.k8s.envoy`."""
    assert (K8S / path).read_text() == text(MADE[path])


def test_the_transcoder_knows_the_present_services() -> None:
    """Otherwise: `python -m deploy.k8s.envoy`."""
    assert (K8S / "base/envoy/tinyroute.binpb").read_bytes() == DESCRIPTOR_SET.read_bytes()


def on_this_machine(config: Config, folder: Path) -> Config:
    """Swaps what only a pod has (names of services, mounted files) for what this machine has."""
    config = deepcopy(config)
    for cluster in config["static_resources"]["clusters"]:
        if cluster.pop("cluster_type", None) or cluster.get("type") == "STRICT_DNS":
            cluster["type"] = "STATIC"
            point(cluster, [Endpoint("127.0.0.1", 1)])
    moved = json.dumps(config).replace("/etc/envoy-tls", str(folder)).replace("/etc/envoy-eds", str(folder))
    swapped: Config = json.loads(moved.replace("/etc/envoy/", f"{folder}/"))
    return swapped


@pytest.mark.e2e
@pytest.mark.parametrize("path", [path for path in MADE if not path.endswith("certificate.yaml")])
def test_envoy_takes_them(path: str, tmp_path: Path) -> None:
    """With nothing that the next Envoy will refuse."""
    (tmp_path / "tinyroute.binpb").write_bytes(DESCRIPTOR_SET.read_bytes())
    for name in ("analyzers.json", "router.json"):
        (tmp_path / name).write_text('{"resources": []}')
    (tmp_path / "certificate.yaml").write_text(json.dumps(on_this_machine_certificate(tmp_path)))
    file = tmp_path / "envoy.yaml"
    file.write_text(json.dumps(on_this_machine(MADE[path], tmp_path)))
    done = subprocess.run([ENVOY, "--mode", "validate", "-c", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Deprecated" not in done.stderr


def on_this_machine_certificate(folder: Path) -> Config:
    """The certificate's place in a folder of this machine."""
    moved: Config = json.loads(json.dumps(certificate()).replace("/etc/envoy-tls", str(folder)))
    return moved


def test_the_sidecar_is_as_resilient_as_the_local_proxy() -> None:
    """Everything about the analyzers but where they are: routes, retries, hedge, health checks, breakers, ejection."""
    local, ours = render(EnvoyPorts(collector=Endpoint("collector", 4317))), sidecar()
    assert listener_of(ours, "analyzers") == listener_of(local, "analyzers")
    place = {"type", "cluster_type", "load_assignment"}
    clusters = [without(named(each["static_resources"]["clusters"])["analyzers"], place) for each in (local, ours)]
    assert clusters[0] == clusters[1]


def listener_of(config: Config, name: str) -> Config:
    """One listener of a configuration."""
    return named(config["static_resources"]["listeners"])[name]


def without(node: Config, keys: set[str]) -> Config:
    """A mapping without some of its keys."""
    return {key: value for key, value in node.items() if key not in keys}


def test_the_front_strips_what_callers_may_not_say() -> None:
    """Envoy's own headers and those between router and analyzer."""
    manager = manager_of(listener_of(front(), "front"))
    (mutation,) = manager["early_header_mutation_extensions"]
    prefixes = [each["remove_on_match"]["key_matcher"]["prefix"] for each in mutation["typed_config"]["mutations"]]
    assert prefixes == ["x-envoy-", "x-tinyroute-"]


def test_the_front_offers_the_public_service_alone() -> None:
    """No reflection, no operators' service."""
    routes = manager_of(listener_of(front(), "front"))["route_config"]["virtual_hosts"][0]["routes"]
    to_routers = [each["match"] for each in routes if "route" in each]
    assert [next(iter(match)) for match in to_routers] == ["safe_regex", "path"]
    pattern = to_routers[0]["safe_regex"]["regex"]
    assert re.fullmatch(pattern, "/tinyroute.router.v1.RouterService/Route")
    assert not re.fullmatch(pattern, "/tinyroute.router.v1.PolicyService/PromotePolicy")


@pytest.mark.parametrize("path", [path for path in MADE if not path.endswith("certificate.yaml")])
def test_the_admin_page_stays_on_loopback(path: str) -> None:
    """What the kubelet and Prometheus see of it is two paths."""
    config = yaml.safe_load((K8S / path).read_text())
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    routes = manager_of(listener_of(config, "status"))["route_config"]["virtual_hosts"][0]["routes"]
    assert [each["match"] for each in routes if "route" in each] == [{"path": "/stats/prometheus"}]
    assert listener_of(config, "analyzers" if "sidecar" in path else "front")["address"]["socket_address"][
        "address"
    ] == ("127.0.0.1" if "sidecar" in path else "0.0.0.0")


@pytest.fixture
def running_front(tmp_path: Path) -> Iterator[int]:
    """An Envoy under the front's configuration on ports of this machine; the first of its three ports."""
    base = free_port_base(3)
    (tmp_path / "tinyroute.binpb").write_bytes(DESCRIPTOR_SET.read_bytes())
    config = on_this_machine(front(), tmp_path)
    config["admin"]["address"]["socket_address"]["port_value"] = base
    for offset, name in enumerate(("front", "status"), 1):
        listener_of(config, name)["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": base + offset}
    (tmp_path / "envoy.yaml").write_text(json.dumps(config))
    options = ["--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
    with subprocess.Popen([ENVOY, "-c", tmp_path / "envoy.yaml", *options], start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 30
            while ready(base + 2) != 200 and time.monotonic() < deadline:
                time.sleep(0.05)
            yield base
        finally:
            process.kill()


def ready(port: int) -> int:
    """What /ready answers; 0 when nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


@pytest.mark.e2e
def test_the_front_says_unfit_before_it_ends(running_front: int) -> None:
    """`drain.sh`, as the kubelet runs it: unfit at once, over as soon as no call is in flight."""
    assert ready(running_front + 2) == 200
    script = K8S / "base/envoy/drain.sh"
    done = subprocess.run(["bash", script, str(running_front), "0", "20"], timeout=15, check=False)
    assert done.returncode == 0
    assert ready(running_front + 2) == 503
