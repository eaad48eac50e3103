"""What all parts of one rollout work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from analyzer.rollout.comparing import Limits
from analyzer.rollout.holding import Hold
from analyzer.rollout.manifests import Manifest
from analyzer.rollout.ports import Cluster, Replicas


@dataclass(frozen=True)
class RolloutSettings:
    """What is rolled out, and how carefully."""

    revision: str
    deployment: str = "analyzer"
    image: str | None = None
    """None: the present delivery image with the revision for its tag."""

    shares: tuple[float, ...] = (0.1, 0.25, 0.5)
    """Of the calls, at each step; after the last one all replicas follow."""

    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 5.0
    settle_seconds: float = 900.0
    """Longest that pods may take to become available."""


@dataclass(frozen=True)
class Clock:
    """Time, for tests to put their own in place."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Means:
    """The cluster, the replicas, this process's hold on the Deployment, and whom to tell."""

    settings: RolloutSettings
    cluster: Cluster
    replicas: Replicas
    hold: Hold
    clock: Clock
    say: Callable[[str], None]

    def pause(self) -> None:
        """Waits until the next look."""
        self.clock.sleep(self.settings.poll_seconds)

    def tell(self, stable: Manifest, reason: str, message: str, *, warning: bool = False) -> None:
        """Says something here, and writes it as an Event."""
        self.say(message)
        self.hold.patiently(lambda: self.cluster.tell(stable, reason, message, warning=warning))
