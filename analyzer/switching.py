"""The operators' story: stage a revision beside the active one, switch to it at once, go back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from analyzer.models import Model, Models
from analyzer.observing import Observer, RevisionActivated, SilentObserver
from servicekit.errors import FailedPrecondition, NotFound, ResourceExhausted, ServiceError


@dataclass(frozen=True, slots=True)
class RevisionFacts:
    """A revision on disk. `judge` is head or label; time in seconds since 1970."""

    name: str
    base_model: str
    layer_count: int
    judge: str
    created_at: float


class Staging(Protocol):
    """What a loader gives."""

    @property
    def model(self) -> Model:
        """The loaded model."""
        ...

    @property
    def p99_seconds(self) -> float:
        """Of 64 tokens alone, on this machine."""
        ...


class Shelf(Protocol):
    """Revisions on disk. Its calls block."""

    def list_revisions(self) -> list[RevisionFacts]:
        """Returns all, newest first."""
        ...

    def load(self, name: str) -> Staging:
        """Loads and checks one; raises NotFound, FailedPrecondition or ResourceExhausted."""
        ...


class ModelSwitch:
    """Changes which model answers; one change at a time."""

    def __init__(
        self,
        models: Models,
        shelf: Shelf,
        observer: Observer | None = None,
        *,
        slowest_seconds: float = 0.1,
    ) -> None:
        self._models = models
        self._shelf = shelf
        self._observer = observer or SilentObserver()
        self._slowest_seconds = slowest_seconds
        self._p99_seconds: dict[str, float] = {}
        self._changing = asyncio.Lock()

    @property
    def models(self) -> Models:
        """The state."""
        return self._models

    async def list_revisions(self) -> list[RevisionFacts]:
        """Returns the revisions on disk, newest first."""
        return await asyncio.to_thread(self._shelf.list_revisions)

    async def stage(self, name: str) -> None:
        """Loads a revision beside the active one; no-op when it is loaded. Raises what the shelf raises."""
        async with self._changing:
            if self._loaded(name):
                self._models.staged_revision = name if name != self._active() else self._models.staged_revision
                return
            await self._stage(name)

    async def activate(self, name: str, *, force: bool) -> None:
        """Makes a staged revision answer; raises FailedPrecondition unless it is staged, and fast enough or forced."""
        async with self._changing:
            p99 = self._p99_seconds.get(name, 0.0)
            if p99 > self._slowest_seconds and not force:
                message = (
                    f"64 tokens through {name} take {p99 * 1000:.0f} ms (p99) on this machine, allowed are "
                    f"{self._slowest_seconds * 1000:.0f} ms; keep fewer layers, use more cores, or force it."
                )
                raise self._refused(FailedPrecondition("TOO_SLOW", message))
            self._switch(name)

    async def rollback(self) -> None:
        """Makes the revision before answer again; raises FailedPrecondition when there was none."""
        async with self._changing:
            previous = self._models.previous_revision
            if previous is None:
                raise self._refused(
                    FailedPrecondition("NO_PREVIOUS_REVISION", "No other revision was active since the start.")
                )
            if not self._loaded(previous):
                await self._stage(previous)
            self._models.staged_revision = previous
            self._switch(previous)

    async def _stage(self, name: str) -> None:
        try:
            staging = await asyncio.to_thread(self._shelf.load, name)
        except (NotFound, FailedPrecondition, ResourceExhausted) as error:
            raise self._refused(error) from error
        self._p99_seconds[name] = staging.p99_seconds
        self._models.stage(staging.model)

    def _switch(self, name: str) -> None:
        before = self._active()
        try:
            self._models.activate(name)
        except FailedPrecondition as error:
            raise self._refused(error) from error
        if before != name:
            self._observer.revision_activated(RevisionActivated(name, before))

    def _active(self) -> str | None:
        return self._models.active.revision if self._models.active else None

    def _loaded(self, name: str) -> bool:
        return any(
            model is not None and model.revision == name for model in (self._models.active, self._models.standby)
        )

    def _refused(self, error: ServiceError) -> ServiceError:
        self._models.last_refusal = error.message
        return error
