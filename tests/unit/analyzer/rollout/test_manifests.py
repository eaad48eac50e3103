"""A canary differs from the stable replicas by its model and its name, and by nothing else."""

from __future__ import annotations

import pytest

from analyzer.rollout.manifests import (
    UnsuitableError,
    canary_of,
    canary_replicas,
    delivering,
    fingerprint,
    image_for,
    selector,
)
from tests.support.k8s import Manifest, of_kind, render
from tests.support.k8s_restricted import breaches


@pytest.fixture
def stable() -> Manifest:
    """The base's Deployment, with a field that nobody here has heard of."""
    deployment = of_kind(render("base"), "Deployment")["analyzer"]
    deployment["spec"]["template"]["spec"]["fieldOfTomorrow"] = True
    deployment["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    return deployment


def test_a_canary_gets_both_revisions_the_new_one_last(stable: Manifest) -> None:
    """So the new one is active, and the old one there to compare with."""
    canary = canary_of(stable, "registry:5000/model:new", "new", 2)
    pod = canary["spec"]["template"]["spec"]
    images = [each["image"] for each in pod["initContainers"]]
    assert images == ["tinyroute-model:smollm2-135m-instruct-15-judge-1", "registry:5000/model:new"]
    assert len({each["name"] for each in pod["initContainers"]}) == 2
    assert pod["containers"] == stable["spec"]["template"]["spec"]["containers"]
    assert pod["fieldOfTomorrow"] is True
    assert not breaches(pod)


def test_the_service_sends_a_canary_its_share_and_each_deployment_owns_its_pods(stable: Manifest) -> None:
    """One Service selects both; neither Deployment selects the other's pods."""
    canary = canary_of(stable, "model:new", "new", 2)
    labels = canary["spec"]["template"]["metadata"]["labels"]
    service = of_kind(render("base"), "Service")["analyzer"]["spec"]["selector"]
    assert service.items() <= labels.items()
    assert selector(canary) == "app.kubernetes.io/name=analyzer,tinyroute.dev/track=canary"
    assert not stable["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_canary_is_a_new_object(stable: Manifest) -> None:
    """Nothing of the server's own is copied, and the stable one is left alone."""
    before = fingerprint(stable)
    canary = canary_of(stable, "model:new", "new", 2)
    assert canary["metadata"].keys() == {"name", "namespace", "labels", "annotations"}
    assert fingerprint(stable) == before
    assert fingerprint(delivering(stable, "model:new", "new")) != before


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("tinyroute-model:old", "tinyroute-model:new"),
        ("registry:5000/a/model:old", "registry:5000/a/model:new"),
        ("registry:5000/a/model", "registry:5000/a/model:new"),
        ("model:old@sha256:0123", "model:new"),
    ],
)
def test_the_revision_becomes_the_tag(stable: Manifest, image: str, expected: str) -> None:
    """Whatever the reference looks like; a port is no tag."""
    stable["spec"]["template"]["spec"]["initContainers"][0]["image"] = image
    assert image_for(stable, "new") == expected


def test_a_deployment_without_delivery_is_refused(stable: Manifest) -> None:
    """There is nothing to change in it."""
    stable["spec"]["template"]["spec"]["initContainers"] = []
    with pytest.raises(UnsuitableError, match="init container 'model'"):
        image_for(stable, "new")


@pytest.mark.parametrize(("stable_count", "share", "expected"), [(3, 0.1, 1), (9, 0.1, 1), (10, 0.1, 2), (4, 0.5, 4)])
def test_canaries_take_at_least_their_share(stable_count: int, share: float, expected: int) -> None:
    """Replicas share the calls alike."""
    count = canary_replicas(stable_count, share)
    assert count == expected
    assert count / (count + stable_count) >= share
