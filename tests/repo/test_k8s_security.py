"""Pods keep the restricted standard, and nobody but those in the table may speak to them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.support.k8s import FOLDERS, of_kind, pod_specs, render
from tests.support.k8s_network import Party, Port, allowed
from tests.support.k8s_restricted import breaches

RESTRICTED = [name for name in FOLDERS if name != "lab"]
"""The lab reads files of its node."""


@pytest.mark.parametrize("overlay", RESTRICTED)
def test_pods_keep_the_restricted_standard(overlay: str) -> None:
    """And cannot write to their root file system."""
    manifests = render(overlay)
    found = {name: breaches(pod) for name, pod in pod_specs(manifests).items()}
    assert not any(found.values()), found
    labels = of_kind(manifests, "Namespace")["tinyroute"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_lab_differs_by_its_files_alone() -> None:
    """What it may do beyond the standard is written down."""
    found = {name: breaches(pod) for name, pod in pod_specs(render("lab")).items()}
    assert found == {"analyzer": [], "router": ["volume eds: hostPath"], "front": ["volume eds: hostPath"]}


@pytest.mark.parametrize(
    ("path", "value", "breach"),
    [
        (("hostNetwork",), True, "hostNetwork is set"),
        (("volumes",), [{"name": "v", "hostPath": {"path": "/"}}], "volume v: hostPath"),
        (("containers", 0, "securityContext", "privileged"), True, "analyzer: privileged"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "analyzer: may gain privileges"),
        (("containers", 0, "securityContext", "runAsUser"), 0, "analyzer: may run as root"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "analyzer: no seccomp profile"),
        (("initContainers", 0, "securityContext", "capabilities"), {}, "model: keeps capabilities"),
        (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False, "analyzer: may write to its root"),
        (("containers", 0, "resources"), {}, "analyzer: no limit of memory"),
    ],
)
def test_each_breach_would_be_found(path: tuple[Any, ...], value: Any, breach: str) -> None:
    """The check above can fail."""
    pod = deepcopy(pod_specs(render("base"))["analyzer"])
    node: Any = pod
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    assert any(each.startswith(breach) for each in breaches(pod)), breaches(pod)


def test_no_pod_holds_a_token_of_the_cluster() -> None:
    """None of them speaks to the API server."""
    for overlay in FOLDERS:
        for name, pod in pod_specs(render(overlay)).items():
            assert pod["automountServiceAccountToken"] is False, (overlay, name)


GOLDEN = """
caller      front       public
front       router      grpc
router      analyzer    grpc
router      canary      grpc
prometheus  front       status
prometheus  router      metrics
prometheus  router      status
prometheus  analyzer    metrics
prometheus  canary      metrics
collector   front       status
collector   router      metrics
collector   router      status
collector   analyzer    metrics
collector   canary      metrics
front       dns         dns-udp
router      dns         dns-udp
analyzer    dns         dns-udp
canary      dns         dns-udp
stranger    dns         dns-udp
front       collector   otlp
router      collector   otlp
analyzer    collector   otlp
canary      collector   otlp
stranger    collector   otlp
router      model       http
router      internet    https
"""
"""Everything that gets through, and nothing else does. Whatever monitors may scrape: a collector can do that, too."""


@pytest.mark.parametrize("overlay", ["production", "keda"])
def test_allowed_connections_equal_the_table(overlay: str) -> None:
    """All pairs of all parties, on every port that somebody listens on."""
    manifests = render(overlay)
    policies = list(of_kind(manifests, "NetworkPolicy").values())
    inside = ours(manifests)
    found = {
        (source.name, destination.name, port.name)
        for source in [*inside, *OUTSIDE]
        for destination in [*inside, *OUTSIDE]
        for port in destination.ports
        if source != destination and (source in inside or destination in inside)
        if allowed(policies, source, destination, port)
    }
    assert found == {tuple(line.split()) for line in GOLDEN.strip().splitlines()}


def ours(manifests: list[dict[str, Any]]) -> list[Party]:
    """The pods of the overlay, a canary, and a pod that has no business here."""
    own = {"kubernetes.io/metadata.name": "tinyroute"}
    deployments = of_kind(manifests, "Deployment")
    parties = [_pod(name, each["spec"]["template"], own) for name, each in deployments.items()]
    canary = deepcopy(deployments["analyzer"]["spec"]["template"])
    canary["metadata"]["labels"]["tinyroute.dev/track"] = "canary"
    stranger = Party("stranger", "10.1.0.99", "tinyroute", own, {"app": "stranger"}, (Port("http", 80),))
    return [*parties, _pod("canary", canary, own), stranger]


def _pod(name: str, template: dict[str, Any], namespace_labels: dict[str, str]) -> Party:
    spec = template["spec"]
    listed = [port for each in [*spec.get("initContainers", []), *spec["containers"]] for port in each.get("ports", [])]
    ports = tuple(Port(port["name"], port["containerPort"]) for port in listed)
    return Party(name, "10.1.0.1", "tinyroute", namespace_labels, template["metadata"]["labels"], ports)


_MONITORING = {"kubernetes.io/metadata.name": "monitoring", "tinyroute.dev/monitoring": "true"}
OUTSIDE = [
    Party("caller", "10.1.1.1", "apps", {"tinyroute.dev/callers": "true"}, {}, (Port("http", 80),)),
    Party("nosy", "10.1.2.1", "other", {"kubernetes.io/metadata.name": "other"}, {}, (Port("http", 80),)),
    Party("prometheus", "10.1.3.1", "monitoring", _MONITORING, {"app": "prometheus"}, (Port("http", 9090),)),
    Party("collector", "10.1.3.2", "monitoring", _MONITORING, {"app": "otel"}, (Port("otlp", 4317),)),
    Party(
        "dns",
        "10.1.4.1",
        "kube-system",
        {"kubernetes.io/metadata.name": "kube-system"},
        {"k8s-app": "kube-dns"},
        (Port("dns-udp", 53, "UDP"), Port("metrics", 9153)),
    ),
    Party("model", "10.1.5.1", "models", {"tinyroute.dev/backends": "true"}, {}, (Port("http", 8000),)),
    Party("internet", "203.0.113.9", ports=(Port("https", 443), Port("http", 80))),
    Party("cloud-metadata", "169.254.169.254", ports=(Port("https", 443), Port("http", 80))),
    Party("api-server", "10.96.0.1", ports=(Port("https", 443),)),
]
