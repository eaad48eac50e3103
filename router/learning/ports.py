"""What learning needs from a store."""

from dataclasses import dataclass
from typing import Protocol

from router.learning.evidence import Evidence
from router.learning.versions import Version
from router.request import Tier


@dataclass(frozen=True)
class Serving:
    """A promoted version, and since when it serves (ISO 8601, UTC)."""

    version: Version
    since: str


class Policies(Protocol):
    """Keeps versions. Blocks; raises Unavailable."""

    def put(self, version: Version) -> None:
        """Keeps a new version."""
        ...

    def get(self, revision: str) -> Version | None:
        """Returns a version; None when there is none of that name."""
        ...

    def serving(self) -> Serving | None:
        """Returns the version that serves; None when it is the configuration's own."""
        ...

    def promote(self, revision: str, now: str) -> Serving | None:
        """Makes a version serve; None when there is none of that name."""
        ...

    def rollback(self, now: str, note: str, expected: str = "") -> bool:
        """Goes back one version, from `expected` if that is given; whether it did."""
        ...


class Records(Protocol):
    """Knows what was recorded. Blocks; raises Unavailable."""

    def evidence(self, tiers: tuple[Tier, ...]) -> Evidence:
        """Returns all there is to learn from."""
        ...

    def received(self, tiers: tuple[Tier, ...], since: str) -> Evidence:
        """Returns the newest verdicts and pairs from a moment on (ISO 8601, UTC), and no cases: little to read."""
        ...
