"""What `kubectl kustomize` makes of an overlay, and how to find things in it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
FOLDERS = {"base": "base", **{name: f"overlays/{name}" for name in ("dev", "production", "keda", "lab")}}

Manifest = dict[str, Any]


@functools.cache
def _rendered(name: str) -> str:
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", K8S / FOLDERS[name]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return done.stdout


def render(name: str) -> list[Manifest]:
    """Returns the manifests of the base or an overlay, new ones each time."""
    return list(yaml.safe_load_all(_rendered(name)))


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Returns the manifests of a kind by their name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def containers(pod: Manifest) -> Iterator[Manifest]:
    """Yields every container of a pod's spec, those that run before the others first."""
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Returns the pod's spec of every Deployment by its name."""
    return {name: each["spec"]["template"]["spec"] for name, each in of_kind(manifests, "Deployment").items()}


def container(manifests: list[Manifest], deployment: str, name: str) -> Manifest:
    """Returns one container of a Deployment."""
    return next(each for each in containers(pod_specs(manifests)[deployment]) if each["name"] == name)


def config_file(manifests: list[Manifest], prefix: str, file: str) -> str:
    """Returns a file of the ConfigMap whose name, but for the hash at its end, is this."""
    (found,) = [each for name, each in of_kind(manifests, "ConfigMap").items() if name.startswith(f"{prefix}-")]
    text: str = found["data"][file]
    return text
