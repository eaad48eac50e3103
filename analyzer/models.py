"""A loaded model, and which one answers: switched by changing one reference, so that no request mixes two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from analyzer.analysis import Analysis
from analyzer.conversation import Message
from analyzer.framing import Frame
from analyzer.jobs import Scorer
from servicekit.errors import FailedPrecondition, Unavailable


class Judge(Protocol):
    """Turns raw scores into an analysis."""

    def judge(self, scores: Sequence[float], frame: Frame) -> Analysis:
        """Judges one prompt."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A revision in memory: what it reads of a conversation, its engine, and its judge."""

    revision: str
    frame: Callable[[Sequence[Message]], Frame]
    scorer: Scorer
    judge: Judge


@dataclass(slots=True)
class Models:
    """The models of a replica. Two at most are in memory: the active one, and one that stands ready."""

    active: Model | None = None
    standby: Model | None = None
    """The staged one, or the one that was active before."""

    previous_revision: str | None = None
    staged_revision: str | None = None
    last_refusal: str = ""
    forward_pass_count: Callable[[], int] = field(default=lambda: 0)

    def __repr__(self) -> str:
        active = self.active.revision if self.active else None
        return f"<Models active {active}, staged {self.staged_revision}, previous {self.previous_revision}>"

    def answering(self) -> Model:
        """Returns the active model; raises Unavailable when there is none."""
        if self.active is None:
            raise Unavailable("NO_MODEL", "No model is loaded; another replica will answer.")
        return self.active

    def stage(self, model: Model) -> None:
        """Makes a loaded model stand ready; the one that stood ready before is let go."""
        self.standby, self.staged_revision = model, model.revision
        self.last_refusal = ""

    def activate(self, revision: str) -> str | None:
        """Makes the staged model answer; returns the revision before. Raises FailedPrecondition unless it is staged."""
        if self.active is not None and self.active.revision == revision:
            return revision
        if self.standby is None or self.standby.revision != revision:
            raise FailedPrecondition("NOT_STAGED", f"Revision {revision} is not staged; call StageRevision first.")
        self.active, self.standby = self.standby, self.active
        before = self.standby.revision if self.standby else None
        self.previous_revision, self.staged_revision, self.last_refusal = before, None, ""
        return before
