"""What a rollout needs from outside: a cluster, and a look into single replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from analyzer.rollout.comparing import Counts
from analyzer.rollout.manifests import Manifest


class ClusterError(Exception):
    """The cluster can't be asked or refuses; the message says what to do."""


class MissingError(ClusterError):
    """There is no such object."""


class ConflictError(ClusterError):
    """Somebody changed the object since it was read, or it exists already."""


class RefusedError(ClusterError):
    """A replica answers, and says no."""


class UnreachableError(ClusterError):
    """No answer, or one that a moment's patience may change."""


@dataclass(frozen=True)
class Pod:
    """A running pod of a Deployment."""

    name: str
    ports: dict[str, int] = field(default_factory=dict)
    ready: bool = True
    restarts: int = 0


@dataclass(frozen=True)
class Sight:
    """What one replica says of itself."""

    revision: str
    counts: Counts
    compared: int = 0
    agreement: float = 1.0


class Cluster(Protocol):
    """One namespace. All raise ClusterError."""

    def read(self, name: str) -> Manifest:
        """Returns a Deployment."""
        ...

    def create(self, deployment: Manifest, *, dry_run: bool = False) -> Manifest:
        """Creates a Deployment; ConflictError when there is one."""
        ...

    def update(self, deployment: Manifest, *, dry_run: bool = False) -> Manifest:
        """Replaces a Deployment; ConflictError when it is not the version that was read."""
        ...

    def delete(self, name: str) -> None:
        """Deletes a Deployment and its pods; nothing happens when there is none."""
        ...

    def pods(self, selector: str) -> list[Pod]:
        """Returns the pods that run and are not about to end."""
        ...

    def tell(self, deployment: Manifest, reason: str, message: str, *, warning: bool = False) -> None:
        """Writes an Event about a Deployment."""
        ...


class Replicas(Protocol):
    """Single replicas. Both raise UnreachableError or RefusedError."""

    def look(self, pod: Pod) -> Sight:
        """Returns what a replica says of itself."""
        ...

    def compare_with(self, pod: Pod, revision: str) -> None:
        """Has a replica score live prompts with another of its revisions too. Doing it again changes nothing."""
        ...
