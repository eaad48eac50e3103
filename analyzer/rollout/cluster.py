"""The cluster through the official client, whose models are not used: they would drop fields newer than they are."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from analyzer.rollout.manifests import Manifest
from analyzer.rollout.ports import ClusterError, ConflictError, MissingError, Pod, UnreachableError

SECONDS_A_CALL = 20
_CONFLICT, _NOT_FOUND, _FORBIDDEN, _TOO_MANY, _SERVER_ERROR = 409, 404, 403, 429, 500


def api_client(context: str | None, environment: Mapping[str, str]) -> client.ApiClient:
    """Returns a client for a context of the kubeconfig (None: the present one), or for the pod this runs in."""
    configuration = client.Configuration()
    configuration.retries = False  # the rollout tries again by itself
    file = environment.get("KUBECONFIG") or Path.home() / ".kube" / "config"
    try:
        if context or environment.get("KUBECONFIG") or Path(file).exists():
            config.load_kube_config(str(file), context, configuration)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise ClusterError(f"no cluster can be chosen: {error}") from error
    return client.ApiClient(configuration)


class KubernetesCluster:
    """Deployments, pods and events of one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._apps = client.AppsV1Api(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<KubernetesCluster {self._apps.api_client.configuration.host}, namespace {self._namespace}>"

    def read(self, name: str) -> Manifest:
        """Returns a Deployment."""
        return self._json(self._apps.read_namespaced_deployment, name)

    def create(self, deployment: Manifest, *, dry_run: bool = False) -> Manifest:
        """Creates a Deployment; ConflictError when there is one."""
        return self._json(self._apps.create_namespaced_deployment, body=deployment, **_rehearsal(dry_run))

    def update(self, deployment: Manifest, *, dry_run: bool = False) -> Manifest:
        """Replaces a Deployment; ConflictError when it is not the version that was read."""
        name = deployment["metadata"]["name"]
        return self._json(self._apps.replace_namespaced_deployment, name, body=deployment, **_rehearsal(dry_run))

    def delete(self, name: str) -> None:
        """Deletes a Deployment and its pods; nothing happens when there is none."""
        try:
            self._json(self._apps.delete_namespaced_deployment, name, propagation_policy="Background")
        except MissingError:
            return

    def pods(self, selector: str) -> list[Pod]:
        """Returns the pods that run and are not about to end."""
        found = self._json(self._core.list_namespaced_pod, label_selector=selector)
        return [
            _pod(each)
            for each in found["items"]
            if each["status"].get("phase") == "Running" and "deletionTimestamp" not in each["metadata"]
        ]

    def tell(self, deployment: Manifest, reason: str, message: str, *, warning: bool = False) -> None:
        """Writes an Event about a Deployment."""
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = deployment["metadata"]
        event = {
            "metadata": {"generateName": f"{metadata['name']}-rollout-", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": metadata["name"],
                "namespace": self._namespace,
                "uid": metadata.get("uid", ""),
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "source": {"component": "analyzer-rollout"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._json(self._core.create_namespaced_event, body=event)

    def _json(self, call: Callable[..., Any], *names: str, **options: Any) -> Manifest:
        """Returns an answer as the API server wrote it."""
        try:
            answer = call(*names, self._namespace, **options, _preload_content=False, _request_timeout=SECONDS_A_CALL)
            found: Manifest = json.loads(answer.data)
        except client.ApiException as error:
            raise _translated(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"the API server can't be reached: {error}") from error
        return found


def _rehearsal(dry_run: bool) -> dict[str, str]:  # noqa: FBT001 - passed on
    return {"dry_run": "All"} if dry_run else {}


def _pod(found: Manifest) -> Pod:
    statuses = found["status"].get("containerStatuses", [])
    ports = {
        port["name"]: port["containerPort"]
        for container in found["spec"]["containers"]
        for port in container.get("ports", [])
        if "name" in port
    }
    return Pod(
        name=found["metadata"]["name"],
        ports=ports,
        ready=bool(statuses) and all(each.get("ready") for each in statuses),
        restarts=sum(each.get("restartCount", 0) for each in statuses),
    )


def _translated(error: client.ApiException) -> ClusterError:
    message = _message(error)
    if error.status == _CONFLICT:
        return ConflictError(message)
    if error.status == _NOT_FOUND:
        return MissingError(message)
    if error.status == _FORBIDDEN:
        return ClusterError(f"{message}; deploy/k8s/base/rollout-rights.yaml has what a rollout needs")
    if error.status == _TOO_MANY or error.status is None or error.status >= _SERVER_ERROR:
        return UnreachableError(f"the API server says: {message}")
    return ClusterError(message)


def _message(error: client.ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, TypeError, KeyError):
        return f"{error.status} {error.reason}"
