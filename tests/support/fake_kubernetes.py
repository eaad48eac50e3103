"""As much of an API server as a rollout needs: Deployments with versions and conflicts, pods, events, forwards, rights.

Its Deployment controller is quick: pods are as the template says at once, unless their revision does not start.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support import fake_portforward
from tests.support.fake_replicas import Behaviour, FakeReplica

Manifest = dict[str, Any]
DEPLOYMENTS = "/apis/apps/v1/namespaces/tinyroute/deployments"
CORE = "/api/v1/namespaces/tinyroute"


class FakeKubernetes:
    """An API server for a block; `behaviours` scripts the replicas of each revision."""

    def __init__(self, stable: Manifest, rules: list[Manifest], behaviours: dict[str, Behaviour]) -> None:
        self.behaviours = behaviours
        self.rules = rules
        self.used_rules: set[int] = set()
        self.deployments: dict[str, Manifest] = {}
        self.events: list[Manifest] = []
        self.requests: list[str] = []
        self.before_write: list[Callable[[FakeKubernetes, str], None]] = []
        self.replicas: dict[str, FakeReplica] = {}
        self._versions = 0
        self._lock = threading.RLock()
        self._running = ExitStack()
        self.put(stable)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._running.close()

    def kubeconfig(self, folder: Path) -> Path:
        """Writes a kubeconfig for this server."""
        address = f"http://127.0.0.1:{self._http.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
            "current-context": "fake",
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def put(self, deployment: Manifest) -> Manifest:
        """Stores a Deployment as its controller would leave it."""
        stored = deepcopy(deployment)
        name = stored["metadata"]["name"]
        old = self.deployments.get(name)
        self._versions += 1
        generation = old["metadata"]["generation"] if old else 0
        changed = old is None or old["spec"] != stored["spec"]
        stored["metadata"] |= {"resourceVersion": str(self._versions), "uid": name, "namespace": "tinyroute"}
        stored["metadata"]["generation"] = generation + 1 if changed else generation
        wanted = stored["spec"].setdefault("replicas", 2)
        starts = self.behaviours[revision_of(stored)].starts
        stored["status"] = {
            "observedGeneration": stored["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": wanted if starts else 0,
            "conditions": [] if starts else [_NOT_PROGRESSING],
        }
        self.deployments[name] = stored
        return deepcopy(stored)

    def write(self, name: str, body: Manifest, *, new: bool, dry_run: bool) -> tuple[int, Manifest]:
        """Creates or replaces a Deployment."""
        for hook in self.before_write:
            hook(self, name)
        with self._lock:
            present = self.deployments.get(name)
            if new and present is not None:
                return 409, {"message": f'deployments.apps "{name}" already exists'}
            if not new and present is None:
                return 404, {"message": f'deployments.apps "{name}" not found'}
            if present and body["metadata"].get("resourceVersion") not in (
                None,
                present["metadata"]["resourceVersion"],
            ):
                return 409, {"message": f'"{name}": the object has been modified'}
            return (201 if new else 200), body if dry_run else self.put(body)

    def pods(self, selector: str) -> list[Manifest]:
        """Returns the pods of the Deployment that the selector names."""
        wanted = dict(each.split("=") for each in selector.split(","))
        owners = [
            each
            for each in self.deployments.values()
            if each["spec"]["selector"]["matchLabels"].items() <= wanted.items()
        ]
        return [_pod(owner, index) for owner in owners for index in range(owner["spec"]["replicas"])]

    def port(self, pod: str, nominal: int) -> int:
        """Returns where a pod's port is on this machine; its replica starts when it is first asked for."""
        with self._lock:
            revision = revision_of(self.deployments[pod.rpartition("-")[0]])
            replica = self.replicas.get(pod)
            if replica is None or replica.revision != revision:
                replica = self._running.enter_context(FakeReplica(revision, self.behaviours[revision]))
                self.replicas[pod] = replica
        return replica.admin_port if nominal == 50151 else replica.metrics_port

    def permits(self, method: str, path: str) -> bool:
        """Says whether the rules allow a request, and notes which."""
        verb, group, resource, name = _attributes(method, path)
        fitting = [
            index
            for index, rule in enumerate(self.rules)
            if verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"]
            if "resourceNames" not in rule or name in rule["resourceNames"]
        ]
        self.used_rules.update(fitting)
        return bool(fitting)


_NOT_PROGRESSING = {
    "type": "Progressing",
    "status": "False",
    "reason": "ProgressDeadlineExceeded",
    "message": "ReplicaSet has timed out progressing.",
}


def revision_of(deployment: Manifest) -> str:
    """Returns the revision that the last delivery leaves active."""
    delivery = [each for each in deployment["spec"]["template"]["spec"]["initContainers"] if each["name"] == "model"]
    return str(delivery[0]["image"].rpartition(":")[2])


def _pod(owner: Manifest, index: int) -> Manifest:
    spec = owner["spec"]["template"]["spec"]
    ready = owner["status"]["availableReplicas"] > 0
    return {
        "metadata": {"name": f"{owner['metadata']['name']}-{index}"},
        "spec": spec,
        "status": {"phase": "Running", "containerStatuses": [{"ready": ready, "restartCount": 0}]},
    }


def _attributes(method: str, path: str) -> tuple[str, str, str, str]:
    """Returns verb, group, resource and name of a request, as an authorizer sees them."""
    parts = path.removeprefix("/apis/").removeprefix("/api/").split("/")
    group = parts[0] if path.startswith("/apis/") else ""
    resource, *rest = parts[parts.index("namespaces") + 2 :]
    name = rest[0] if rest else ""
    resource = "/".join([resource, *rest[1:]])
    verbs = {"POST": "create", "PUT": "update", "DELETE": "delete", "GET": "get" if name else "list"}
    return verbs[method], group, resource, name


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: FakeKubernetes

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""

    def do_GET(self) -> None:
        path, query = self._begin()
        if path is None:
            return
        if found := re.fullmatch(f"{CORE}/pods/([^/]+)/portforward", path):
            port = int(query["ports"][0])
            fake_portforward.serve(self, port, self.cluster.port(found[1], port))
        elif path == f"{CORE}/pods":
            self._answer(200, {"items": self.cluster.pods(query["labelSelector"][0])})
        elif (name := path.removeprefix(f"{DEPLOYMENTS}/")) in self.cluster.deployments:
            self._answer(200, self.cluster.deployments[name])
        else:
            self._answer(404, {"message": f"{path} not found"})

    def do_POST(self) -> None:
        path, query = self._begin()
        if path is None:
            return
        body = self._body()
        if path == f"{CORE}/events":
            self.cluster.events.append(body)
            self._answer(201, body)
        else:
            self._answer(*self.cluster.write(body["metadata"]["name"], body, new=True, dry_run="dryRun" in query))

    def do_PUT(self) -> None:
        path, query = self._begin()
        if path is not None:
            name = path.removeprefix(f"{DEPLOYMENTS}/")
            self._answer(*self.cluster.write(name, self._body(), new=False, dry_run="dryRun" in query))

    def do_DELETE(self) -> None:
        path, _ = self._begin()
        if path is not None:
            self._body()
            name = path.removeprefix(f"{DEPLOYMENTS}/")
            gone = self.cluster.deployments.pop(name, None)
            self._answer(200 if gone else 404, {"message": "" if gone else f"{name} not found"})

    def _begin(self) -> tuple[str | None, dict[str, list[str]]]:
        split = urlsplit(self.path)
        self.cluster.requests.append(f"{self.command} {split.path}")
        if self.cluster.permits(self.command, split.path):
            return split.path, parse_qs(split.query)
        self._body()
        self._answer(403, {"message": f"{self.command} {split.path} is forbidden"})
        return None, {}

    def _body(self) -> Any:
        size = int(self.headers.get("Content-Length") or 0)
        return json.loads(self.rfile.read(size)) if size else {}

    def _answer(self, status: int, body: Manifest) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
