"""A breaker leaves a failing neighbour alone, and finds out with real calls when it is back."""

import time
from dataclasses import dataclass
from enum import Enum

from servicekit.deadline import Clock


class State(Enum):
    """What a breaker lets through: all calls, none, one now and then."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class BreakerSettings:
    """When a breaker opens and how it probes.

    It opens after `failures_in_a_row` that span `failing_seconds`: a burst of calls that fail together, or one replica
    in three, does not open it. `cool_down_seconds` is kept after "come again later" when the other side does not say
    how much later; `cool_down_max_seconds` bounds what it says.
    """

    failures_in_a_row: int = 5
    failing_seconds: float = 0.5
    probe_interval_seconds: float = 1.0
    cool_down_seconds: float = 1.0
    cool_down_max_seconds: float = 60.0


@dataclass(frozen=True)
class Permit:
    """Leave for one call. Whoever takes it tells the breaker how the call ended."""

    generation: int


class Breaker:
    """Closed, open or half-open; admits calls and learns from how they end."""

    def __init__(self, name: str, settings: BreakerSettings | None = None, clock: Clock = time.monotonic) -> None:
        self.name = name
        self._settings = settings or BreakerSettings()
        self._clock = clock
        self._state = State.CLOSED
        self._generation = 0
        self._failures = 0
        self._failing_since = 0.0
        self._next_probe = 0.0
        self._cool_until = float("-inf")

    @property
    def state(self) -> State:
        """Returns the state; half-open while a probe is on its way."""
        return self._state

    def admits(self) -> bool:
        """Whether a call would be let through at this moment. Changes nothing."""
        now = self._clock()
        if now < self._cool_until:
            return False
        return self._state is State.CLOSED or now >= self._next_probe

    def admit(self) -> Permit | None:
        """Returns a permit for one call, None when there is none; unless closed, at most one a probe interval.

        A probe that never tells how it ended locks nothing: the next interval has a probe of its own.
        """
        if not self.admits():
            return None
        if self._state is not State.CLOSED:
            self._state = State.HALF_OPEN
            self._next_probe = self._clock() + self._settings.probe_interval_seconds
        return Permit(self._generation)

    def alive(self, permit: Permit) -> Permit:
        """The other side has begun to answer: calls may pass again, but one failure ends that. Returns a new permit."""
        if self._is_history(permit) or self._state is State.CLOSED:
            return permit
        self._close()
        self._failures = self._settings.failures_in_a_row - 1
        return Permit(self._generation)

    def succeeded(self, permit: Permit) -> None:
        """The call went well."""
        if self._is_history(permit):
            return
        if self._state is not State.CLOSED:
            self._close()
        self._failures = 0

    def failed(self, permit: Permit) -> None:
        """The call failed, and the other side is to blame."""
        if self._is_history(permit):
            return
        now = self._clock()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        lasting = now - self._failing_since >= self._settings.failing_seconds
        if self._state is not State.CLOSED:
            self._state = State.OPEN
        elif self._failures >= self._settings.failures_in_a_row and lasting:
            self._open()

    def told_to_wait(self, permit: Permit, seconds: float | None = None) -> None:
        """The other side is well but asked to be left alone, for `seconds` if it said so."""
        wait = self._settings.cool_down_seconds if seconds is None else seconds
        until = self._clock() + min(max(wait, 0.0), self._settings.cool_down_max_seconds)
        self._cool_until = max(self._cool_until, until)
        self.left(permit)

    def left(self, permit: Permit) -> None:
        """The call says nothing of the other side: it was cancelled, or was itself wrong."""
        if not self._is_history(permit) and self._state is State.HALF_OPEN:
            self._state = State.OPEN

    def _is_history(self, permit: Permit) -> bool:
        """Whether the breaker has opened or closed since: what such a call says is out of date."""
        return permit.generation != self._generation

    def _close(self) -> None:
        self._state = State.CLOSED
        self._generation += 1

    def _open(self) -> None:
        self._state = State.OPEN
        self._generation += 1
        self._next_probe = self._clock() + self._settings.probe_interval_seconds

    def __repr__(self) -> str:
        parts = [self.name, self._state.value, f"{self._failures} failures in a row"]
        now = self._clock()
        if self._state is not State.CLOSED:
            parts.append(f"next probe in {max(0.0, self._next_probe - now):.1f} s")
        if now < self._cool_until:
            parts.append(f"cooling down for {self._cool_until - now:.1f} s")
        return f"<Breaker {', '.join(parts)}>"
