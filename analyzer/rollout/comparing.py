"""Compares a canary with the stable replicas: pure arithmetic on what both counted, and a verdict."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Buckets = Mapping[float, float]
"""How many calls took at most so many seconds, by that bound; the last bound is infinite."""

PERCENTILE = 0.99


@dataclass(frozen=True)
class Counts:
    """What a replica has counted since it started."""

    answered: float = 0
    failed: float = 0
    refused: float = 0
    seconds: Buckets = field(default_factory=dict)

    def since(self, earlier: Counts) -> Counts:
        """Returns what was counted after `earlier`; all of it, when the replica has started anew in between."""
        if self.answered < earlier.answered or self.failed < earlier.failed or self.refused < earlier.refused:
            return self
        return Counts(
            self.answered - earlier.answered,
            self.failed - earlier.failed,
            self.refused - earlier.refused,
            {bound: count - earlier.seconds.get(bound, 0) for bound, count in self.seconds.items()},
        )

    @property
    def error_rate(self) -> float:
        """Share of the prompts that got no analysis."""
        lost = self.failed + self.refused
        return lost / (self.answered + lost) if lost else 0.0

    @property
    def p99_seconds(self) -> float:
        """Returns the 99th percentile, interpolated within its bucket; 0 without calls."""
        total = self.seconds.get(math.inf, 0)
        below = counted = 0.0
        for bound in sorted(self.seconds):
            inside = self.seconds[bound]
            if total and inside >= PERCENTILE * total:
                if math.isinf(bound):
                    return below
                return below + (bound - below) * (PERCENTILE * total - counted) / (inside - counted)
            below, counted = bound, inside
        return 0.0


def total(counts: Iterable[Counts]) -> Counts:
    """Returns what several replicas counted together."""
    listed = list(counts)
    bounds = {bound for each in listed for bound in each.seconds}
    return Counts(
        sum(each.answered for each in listed),
        sum(each.failed for each in listed),
        sum(each.refused for each in listed),
        {bound: sum(each.seconds.get(bound, 0) for each in listed) for bound in bounds},
    )


@dataclass(frozen=True)
class Comparison:
    """Both sides since the step began, and how often the two revisions chose alike."""

    canary: Counts
    stable: Counts
    compared: int = 0
    agreement: float = 1.0
    restarts: int = 0
    elapsed_seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.canary.answered:.0f} calls, {self.canary.error_rate:.2%} lost, "
            f"p99 {self.canary.p99_seconds * 1e3:.0f} ms (stable: {self.stable.answered:.0f}, "
            f"{self.stable.error_rate:.2%}, {self.stable.p99_seconds * 1e3:.0f} ms); "
            f"agreement {self.agreement:.1%} of {self.compared}"
        )


@dataclass(frozen=True)
class Limits:
    """What a canary may differ by."""

    agreement_min: float = 0.9
    """Share of the prompts on which both revisions choose the same tier; 0: not compared."""

    error_rate_margin: float = 0.01
    """Most by which its share of lost prompts may exceed the stable one's."""

    p99_max_ms: float = 100.0
    p99_ratio_max: float = 1.5
    """The p99 fails when it is above both: too slow for routers, and slower than what is there."""

    prompts_min: int = 200
    """Fewer say nothing."""

    step_seconds: float = 120.0
    patience_seconds: float = 1800.0
    """A step that is undecided for so long has failed."""


class Outcome(enum.Enum):
    """What to do with a canary."""

    WAIT = "wait"
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"


@dataclass(frozen=True)
class Verdict:
    """What to do, and why."""

    outcome: Outcome
    reason: str = ""


def judge(seen: Comparison, limits: Limits) -> Verdict:
    """Fails as soon as there is reason to; passes when the step's time is over and nothing spoke against it."""
    if seen.restarts:
        return Verdict(Outcome.FAIL, f"the canary restarted {seen.restarts} times")
    known = seen.canary.answered + seen.canary.failed + seen.canary.refused
    if known >= limits.prompts_min and (reason := _fault(seen, limits)):
        return Verdict(Outcome.FAIL, reason)
    if seen.compared >= limits.prompts_min and seen.agreement < limits.agreement_min:
        reason = (
            f"the revisions agree on {seen.agreement:.1%} of {seen.compared} prompts, under {limits.agreement_min:.1%}"
        )
        return Verdict(Outcome.FAIL, reason)
    enough = known if not limits.agreement_min else min(known, seen.compared)
    if seen.elapsed_seconds >= limits.step_seconds and enough >= limits.prompts_min:
        return Verdict(Outcome.PASS)
    if seen.elapsed_seconds > limits.patience_seconds:
        return Verdict(Outcome.FAIL, f"{known:.0f} calls and {seen.compared} compared prompts are too few to judge by")
    return Verdict(Outcome.WAIT)


def _fault(seen: Comparison, limits: Limits) -> str:
    if seen.canary.error_rate > seen.stable.error_rate + limits.error_rate_margin:
        return f"the canary lost {seen.canary.error_rate:.2%} of its prompts, the others {seen.stable.error_rate:.2%}"
    p99_ms, usual_ms = seen.canary.p99_seconds * 1e3, seen.stable.p99_seconds * 1e3
    if p99_ms > max(limits.p99_max_ms, usual_ms * limits.p99_ratio_max):
        return f"the canary's p99 is {p99_ms:.0f} ms (limit {limits.p99_max_ms:.0f} ms), the others' {usual_ms:.0f} ms"
    return ""
