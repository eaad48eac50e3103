"""How far a rollout is: kept in an annotation of the Deployment, so that whoever comes next can go on from there."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, replace


class Phase(enum.StrEnum):
    """What is being done; the last three are ends."""

    CANARY = "canary"
    PROMOTING = "promoting"
    REVERTING = "reverting"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABANDONED = "abandoned"

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self in {Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABANDONED}


class ProgressError(ValueError):
    """An annotation that is no rollout's."""


@dataclass(frozen=True)
class Progress:
    """One rollout, between any two of its writes."""

    revision: str
    image: str
    """What delivers the new revision."""

    previous_revision: str
    previous_image: str
    fingerprint: str
    """Of the pod template that this rollout knows; another one is somebody else's edit."""

    holder: str
    """The process that is at it."""

    phase: Phase = Phase.CANARY
    step: int = 0
    reason: str = ""
    """Why it went back."""

    def to_json(self) -> str:
        """Returns what `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Reads an annotation; raises ProgressError."""
        try:
            fields = json.loads(text)
            return replace(cls(**fields), phase=Phase(fields["phase"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ProgressError(f"the rollout's annotation can't be read: {error}") from error

    def then(self, phase: Phase, reason: str = "") -> Progress:
        """Returns the next phase."""
        return replace(self, phase=phase, reason=reason or self.reason)
