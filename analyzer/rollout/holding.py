"""The Deployment of a rollout: read and written only while it is this process's, and nobody has edited it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar

from analyzer.rollout.manifests import PROGRESS, Manifest, fingerprint
from analyzer.rollout.ports import Cluster, ClusterError, ConflictError, UnreachableError
from analyzer.rollout.progress import Progress

ATTEMPTS = 8

Change = Callable[[Manifest], Manifest]
T = TypeVar("T")


class EditedError(ClusterError):
    """Somebody changed the pod template while the rollout ran."""


class SupersededError(ClusterError):
    """Another process has taken the rollout over."""


def progress_of(deployment: Manifest) -> Progress | None:
    """Returns the rollout that a Deployment tells of, the last one or the one under way."""
    text = deployment["metadata"].get("annotations", {}).get(PROGRESS)
    return Progress.from_json(text) if text else None


class Hold:
    """One process's hold on one Deployment.

    Every write names the version it rests on. Where that has changed, the change is looked at: the autoscaler's and the
    status are nobody's business, so the write is made again; an edit of the pods ends the rollout.
    """

    def __init__(self, cluster: Cluster, name: str, holder: str, pause: Callable[[], None]) -> None:
        self._cluster = cluster
        self._name = name
        self._holder = holder
        self._pause = pause

    def __repr__(self) -> str:
        return f"<Hold of {self._holder} on {self._name}>"

    def read(self) -> Manifest:
        """Returns the Deployment, whoever's it is."""
        return self.patiently(lambda: self._cluster.read(self._name))

    def ours(self, progress: Progress) -> Manifest:
        """Returns the Deployment; raises SupersededError or EditedError."""
        deployment = self.read()
        current = progress_of(deployment)
        if current is None or current.holder != self._holder:
            raise SupersededError(f"another process has taken over the rollout of {self._name}; this one stops")
        if fingerprint(deployment) != progress.fingerprint:
            raise EditedError(f"somebody edited the pods of {self._name} during the rollout")
        return deployment

    def take(self, progress: Progress, *, expected: Progress | None) -> Progress:
        """Makes the rollout this process's; raises ConflictError when another one was quicker."""
        taken = replace(progress, holder=self._holder)
        for _ in range(ATTEMPTS):
            deployment = self.read()
            if progress_of(deployment) != expected:
                raise ConflictError(f"another rollout of {self._name} has begun meanwhile")
            if self._replaced(_noting(deployment, taken)):
                return taken
        raise ConflictError(f"{self._name} changes faster than it can be written")

    def save(self, old: Progress, new: Progress, change: Change = deepcopy) -> Progress:
        """Changes the Deployment and notes the progress in one write; returns the progress."""
        for _ in range(ATTEMPTS):
            changed = change(self.ours(old))
            noted = replace(new, holder=self._holder, fingerprint=fingerprint(changed))
            if self._replaced(_noting(changed, noted)):
                return noted
        raise ConflictError(f"{self._name} changes faster than it can be written")

    def close(self, progress: Progress) -> Progress:
        """Notes an end, whatever the pods have become; raises SupersededError."""
        for _ in range(ATTEMPTS):
            deployment = self.read()
            current = progress_of(deployment)
            if current is None or current.holder != self._holder:
                raise SupersededError(f"another process has taken over the rollout of {self._name}; this one stops")
            if self._replaced(_noting(deployment, progress)):
                return progress
        raise ConflictError(f"{self._name} changes faster than it can be written")

    def patiently(self, call: Callable[[], T]) -> T:
        """Returns what a call returns, after some tries while the API server can't be reached."""
        for _ in range(ATTEMPTS - 1):
            try:
                return call()
            except UnreachableError:
                self._pause()
        return call()

    def _replaced(self, deployment: Manifest) -> bool:
        try:
            self.patiently(lambda: self._cluster.update(deployment))
        except ConflictError:
            return False
        return True


def _noting(deployment: Manifest, progress: Progress) -> Manifest:
    noted = deepcopy(deployment)
    noted["metadata"].setdefault("annotations", {})[PROGRESS] = progress.to_json()
    return noted
