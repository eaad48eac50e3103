"""A deadline is a point in time; a timeout is a length. Converted once, at the edge."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Clock = Callable[[], float]


@dataclass(frozen=True)
class Deadline:
    """A moment on a monotonic clock, in seconds, by which a call has to be over."""

    at: float
    clock: Clock = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> "Deadline":
        """The deadline `seconds` from now; one already past when negative."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())

    def expired(self) -> bool:
        """Whether no time is left."""
        return self.clock() >= self.at

    def share(self, fraction: float, at_most: float = float("inf")) -> "Deadline":
        """An earlier deadline: `fraction` of what is left, and `at_most` that many seconds from now."""
        return Deadline.after(min(self.remaining() * fraction, at_most), self.clock)
