"""What a rollout changes in a Deployment. Manifests are the API's own JSON: fields this code has not heard of stay."""

from __future__ import annotations

import hashlib
import json
import math
from copy import deepcopy
from typing import Any

Manifest = dict[str, Any]

PROGRESS = "tinyroute.dev/rollout"
TRACK = "tinyroute.dev/track"
REVISION = "tinyroute.dev/revision"
CANARY = "canary"
DELIVERY = "model"
"""The init container that brings the revision."""


class UnsuitableError(Exception):
    """A Deployment that can't be rolled out this way; the message says what it lacks."""


def delivery_image(deployment: Manifest) -> str:
    """Returns the image that delivers the model; raises UnsuitableError when nothing does."""
    return str(_delivery(deployment["spec"]["template"])["image"])


def image_for(deployment: Manifest, revision: str) -> str:
    """Returns the present image's name with the revision for its tag."""
    image = delivery_image(deployment).partition("@")[0]
    name, colon, tag = image.rpartition(":")
    return f"{name if colon and '/' not in tag else image}:{revision}"


def fingerprint(deployment: Manifest) -> str:
    """Returns a digest of the pod template: it changes with whatever would roll the pods."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def delivering(deployment: Manifest, image: str, revision: str) -> Manifest:
    """Returns the Deployment with the revision delivered to all its pods."""
    changed = deepcopy(deployment)
    template = changed["spec"]["template"]
    _delivery(template)["image"] = image
    template["metadata"].setdefault("annotations", {})[REVISION] = revision
    return changed


def canary_of(deployment: Manifest, image: str, revision: str, replicas: int) -> Manifest:
    """Returns a Deployment beside the stable one. Its pods get the old revision too, to compare the new one with."""
    canary = delivering(deployment, image, revision)
    canary.pop("status", None)
    metadata, spec = canary["metadata"], canary["spec"]
    name, labels = canary_name(deployment), {**metadata.get("labels", {}), TRACK: CANARY}
    canary["metadata"] = {
        "name": name,
        "namespace": metadata["namespace"],
        "labels": labels,
        "annotations": {REVISION: revision},
    }
    spec["replicas"] = replicas
    spec["selector"]["matchLabels"][TRACK] = CANARY
    template = spec["template"]
    template["metadata"]["labels"][TRACK] = CANARY
    before = deepcopy(_delivery(deployment["spec"]["template"]))
    before["name"] = f"{DELIVERY}-previous"
    containers = template["spec"]["initContainers"]
    containers.insert(containers.index(_delivery(template)), before)  # the later one says which revision is active
    return canary


def canary_name(deployment: Manifest) -> str:
    """Returns the canary's name."""
    return f"{deployment['metadata']['name']}-{CANARY}"


def canary_replicas(stable: int, share: float) -> int:
    """Returns how many canaries take at least this share (below 1) of the calls, which all replicas share alike."""
    return max(1, math.ceil(stable * share / (1 - share)))


def selector(deployment: Manifest) -> str:
    """Returns the label selector of a Deployment's pods."""
    return ",".join(f"{key}={value}" for key, value in sorted(deployment["spec"]["selector"]["matchLabels"].items()))


def replicas(deployment: Manifest) -> int:
    """Returns how many pods it asks for."""
    return int(deployment["spec"].get("replicas", 1))


def settled(deployment: Manifest) -> bool:
    """Whether all its pods are of the present template, and available."""
    status, wanted = deployment.get("status", {}), replicas(deployment)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def stuck(deployment: Manifest) -> str:
    """Returns why its rollout can't go on; empty while it can."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason"))
    return ""


def _delivery(template: Manifest) -> Manifest:
    for container in template["spec"].get("initContainers", []):
        if container["name"] == DELIVERY:
            found: Manifest = container
            return found
    raise UnsuitableError(f"its pods have no init container {DELIVERY!r} whose image delivers the revision")
