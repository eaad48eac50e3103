"""The "restricted" pod security standard, a read-only root file system and limits on top, as a list of breaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.k8s import containers

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")


def breaches(pod: dict[str, Any]) -> list[str]:
    """Returns a sentence for everything in a pod's spec that the standard forbids."""
    found = [f"{field} is set" for field in HOST_FIELDS if pod.get(field)]
    for volume in pod.get("volumes", []):
        found += [f"volume {volume['name']}: {kind}" for kind in set(volume) - {"name"} - ALLOWED_VOLUMES]
    for container in containers(pod):
        found += [f"{container['name']}: {each}" for each in _of_container(container, pod.get("securityContext", {}))]
    return found


def _of_container(container: dict[str, Any], pod_context: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**pod_context, **own}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "may run as root"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccomp profile"
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        yield "keeps capabilities"
    if own.get("procMount", "Default") != "Default" or any("hostPort" in port for port in container.get("ports", [])):
        yield "reaches into the host"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root file system"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield "no limit of memory"
