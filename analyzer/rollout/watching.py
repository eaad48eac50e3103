"""Looks at a canary and at the stable replicas until there is a verdict on one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from analyzer.rollout.comparing import Comparison, Counts, Limits, Outcome, Verdict, judge, total
from analyzer.rollout.ports import Pod, RefusedError, Replicas, Sight, UnreachableError

Pods = Callable[[], list[Pod]]


@dataclass(frozen=True)
class Sides:
    """Who is compared: the pods as they are at any moment."""

    canary: Pods
    stable: Pods


class Watch:
    """One step's watch. What was counted before it began does not count; without `previous` nothing is compared."""

    def __init__(self, replicas: Replicas, sides: Sides, revision: str, previous: str | None) -> None:
        self._replicas = replicas
        self._sides = sides
        self._revision = revision
        self._previous = previous
        self._before: dict[str, Counts] = {}
        self._restarts_before: dict[str, int] = {}
        self._refusal = ""
        self._served: set[str] = set()

    def begin(self) -> None:
        """Notes where the counts stand."""
        canaries, stable = self._sides.canary(), self._sides.stable()
        self._restarts_before = {pod.name: pod.restarts for pod in canaries}
        self._before = {name: sight.counts for name, sight in self._look([*canaries, *stable]).items()}

    def compare(self, elapsed_seconds: float) -> Comparison:
        """Returns both sides since `begin`. Replicas that can't be reached now are left out."""
        canaries = self._sides.canary()
        for pod in canaries:
            self._have_compared(pod)
        new, old = self._look(canaries), self._look(self._sides.stable())
        self._served = {sight.revision for sight in new.values()}
        compared = sum(sight.compared for sight in new.values())
        agreed = sum(sight.agreement * sight.compared for sight in new.values())
        return Comparison(
            canary=self._since(new),
            stable=self._since(old),
            compared=compared,
            agreement=agreed / compared if compared else 1.0,
            restarts=sum(pod.restarts - self._restarts_before.get(pod.name, 0) for pod in canaries),
            elapsed_seconds=elapsed_seconds,
        )

    def verdict(self, seen: Comparison, limits: Limits) -> Verdict:
        """Returns what `judge` says, or a failure when a canary serves something else."""
        if self._refusal:
            return Verdict(Outcome.FAIL, f"the canary can't be compared: {self._refusal}")
        if others := self._served - {self._revision, ""}:
            return Verdict(Outcome.FAIL, f"the canary's image delivers {', '.join(sorted(others))}")
        return judge(seen, limits)

    def _have_compared(self, pod: Pod) -> None:
        if self._previous is None:
            return
        try:
            self._replicas.compare_with(pod, self._previous)
        except UnreachableError:
            return  # it starts, or has just gone: the next look will tell
        except RefusedError as error:
            self._refusal = str(error)

    def _look(self, pods: Iterable[Pod]) -> dict[str, Sight]:
        seen = {}
        for pod in pods:
            with suppress(UnreachableError):
                seen[pod.name] = self._replicas.look(pod)
        return seen

    def _since(self, sights: dict[str, Sight]) -> Counts:
        return total(sight.counts.since(self._before.get(name, Counts())) for name, sight in sights.items())
