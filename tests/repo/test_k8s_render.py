"""Every overlay renders, and a current Kubernetes would take it: shapes, names, and what refers to what."""

from __future__ import annotations

import kubernetes_validate
import pytest

from tests.support.k8s import FOLDERS, K8S, container, containers, of_kind, pod_specs, render

KUBERNETES_VERSION = "1.37"
CUSTOM = {
    ("cert-manager.io/v1", "Certificate"): {"secretName", "issuerRef"},
    ("cert-manager.io/v1", "Issuer"): set(),
    ("keda.sh/v1alpha1", "ScaledObject"): {"scaleTargetRef", "triggers"},
}
"""Kinds that no schema is at hand for, with the fields they can't do without."""

every_overlay = pytest.mark.parametrize("overlay", FOLDERS)


def test_every_overlay_is_looked_at() -> None:
    """A new overlay has to be added to the list."""
    assert {each.name for each in (K8S / "overlays").iterdir()} == set(FOLDERS) - {"base"}


@every_overlay
def test_manifests_pass_strict_validation(overlay: str) -> None:
    """No unknown field, no wrong type, no value outside its enum."""
    for manifest in render(overlay):
        kind = (manifest["apiVersion"], manifest["kind"])
        if kind in CUSTOM:
            assert CUSTOM[kind] <= manifest["spec"].keys(), kind
        else:
            kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    """The validation above can fail."""
    manifest = of_kind(render("base"), "Deployment")["analyzer"]
    manifest["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)


@every_overlay
def test_names_are_unique_and_in_one_namespace(overlay: str) -> None:
    """Nothing overwrites something else, nothing lands elsewhere."""
    manifests = render(overlay)
    keys = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(keys) == len(set(keys))
    for manifest in manifests:
        expected = None if manifest["kind"] == "Namespace" else "tinyroute"
        assert manifest["metadata"].get("namespace") == expected, manifest["metadata"]


@every_overlay
def test_everything_that_is_referred_to_exists(overlay: str) -> None:
    """ConfigMaps, service accounts, volumes and named ports."""
    manifests = render(overlay)
    configs = of_kind(manifests, "ConfigMap")
    secrets = {each["spec"]["secretName"] for each in of_kind(manifests, "Certificate").values()}
    for name, pod in pod_specs(manifests).items():
        assert pod["serviceAccountName"] in of_kind(manifests, "ServiceAccount"), name
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {v["configMap"]["name"] for v in volumes.values() if "configMap" in v} <= configs.keys()
        assert {v["secret"]["secretName"] for v in volumes.values() if "secret" in v} <= secrets
        for each in containers(pod):
            assert {mount["name"] for mount in each.get("volumeMounts", [])} <= volumes.keys(), (name, each["name"])


@every_overlay
def test_selectors_meet_their_pods(overlay: str) -> None:
    """Services, budgets and Deployments select the pods they mean."""
    manifests = render(overlay)
    templates = {name: each["spec"]["template"] for name, each in of_kind(manifests, "Deployment").items()}
    labels = {name: template["metadata"]["labels"] for name, template in templates.items()}
    for name, deployment in of_kind(manifests, "Deployment").items():
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
    for service in of_kind(manifests, "Service").values():
        (selected,) = [name for name, each in labels.items() if service["spec"]["selector"].items() <= each.items()]
        names = {port["name"] for each in containers(templates[selected]["spec"]) for port in each.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for name, budget in of_kind(manifests, "PodDisruptionBudget").items():
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels[name].items()


@every_overlay
def test_every_image_has_a_version(overlay: str) -> None:
    """No `latest`, spelt out or not."""
    for pod in pod_specs(render(overlay)).values():
        for each in containers(pod):
            tag = each["image"].rpartition(":")[2]
            assert ":" in each["image"], each["image"]
            assert tag != "latest"


def test_what_runs_in_production_survives_a_node() -> None:
    """At least three of each, spread, evicted one at a time."""
    manifests = render("production")
    for name, deployment in of_kind(manifests, "Deployment").items():
        spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert of_kind(manifests, "PodDisruptionBudget")[name]["spec"]["maxUnavailable"] == 1
    assert of_kind(manifests, "HorizontalPodAutoscaler")["analyzer"]["spec"]["minReplicas"] >= 3
    assert of_kind(manifests, "Deployment")["router"]["spec"]["replicas"] == 3


def test_one_autoscaler_at_a_time() -> None:
    """KEDA brings its own; with both the fleet would swing between two opinions."""
    assert not of_kind(render("keda"), "HorizontalPodAutoscaler")
    scaled = of_kind(render("keda"), "ScaledObject")["analyzer"]["spec"]
    prometheus, cpu = scaled["triggers"]
    assert prometheus["metadata"]["ignoreNullValues"] == "false"
    assert cpu["type"] == "cpu"
    own = of_kind(render("production"), "HorizontalPodAutoscaler")["analyzer"]["spec"]
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == own["behavior"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (own["minReplicas"], own["maxReplicas"])


def test_the_autoscaler_owns_the_number_of_analyzers() -> None:
    """A count in the manifest would reset the fleet at every apply."""
    for overlay in ("base", "production", "keda"):
        assert "replicas" not in of_kind(render(overlay), "Deployment")["analyzer"]["spec"]


def test_a_new_replica_is_known_before_an_old_one_goes() -> None:
    """Over the 30 s for which a cluster's DNS may remember an answer; otherwise Envoy knew none but the dead."""
    for overlay in ("base", "production", "keda"):
        deployments = of_kind(render(overlay), "Deployment")
        for name in ("analyzer", "router"):
            spec = deployments[name]["spec"]
            assert spec["minReadySeconds"] > 30
            assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    for name in ("analyzer", "router"):
        service = of_kind(render("production"), "Service")[name]["spec"]
        assert service["clusterIP"] == "None"
        assert service["publishNotReadyAddresses"] is True


def test_the_analyzer_has_its_core_for_itself() -> None:
    """Requests are limits, whole cores: nobody else's load becomes its latency."""
    for overlay in ("base", "dev", "production", "keda"):
        resources = container(render(overlay), "analyzer", "analyzer")["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"]["cpu"] == "1"
