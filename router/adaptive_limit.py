"""How many analyses at once the analyzers can take: found by trying, given up by a share when they are overloaded."""

import statistics
import time
from dataclasses import dataclass

from servicekit.deadline import Clock


@dataclass(frozen=True)
class AdaptiveLimitSettings:
    """How the limit moves: down to `backoff` of the load in a congested window, up a step in a full one that is not.

    A window is congested when more than `refused_share` were refused, or the median took longer than both
    `slow_seconds` and `slow_ratio` times the best window so far. With no more than `least` under way it brings nothing
    down: so little load is not what makes analyses slow, and the limit could not keep it away. `least` is no small
    number: what analyzers refuse by themselves is answered by another rung, what the door refuses is not.
    """

    initial: float = 32.0
    least: float = 16.0
    most: float = 512.0
    window_seconds: float = 0.1
    window_count: int = 8
    backoff: float = 0.8
    refused_share: float = 0.05
    slow_seconds: float = 0.05
    slow_ratio: float = 3.0


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, judged once a window, which begins with its first analysis."""

    def __init__(self, settings: AdaptiveLimitSettings | None = None, clock: Clock = time.monotonic) -> None:
        self._settings = settings or AdaptiveLimitSettings()
        self._clock = clock
        self._best = float("inf")
        self.limit = self._settings.initial
        self._begin()

    def served(self, seconds: float, load: int) -> None:
        """Notes an analysis that took so long, while `load` were under way."""
        self._served.append(seconds)
        self._note(load)

    def late(self, seconds: float, load: int) -> None:
        """Notes an analysis that had not come after so long, under such a load. A short wait tells nothing."""
        if seconds > self._settings.slow_seconds:
            self.served(float("inf"), load)

    def refused(self, load: int) -> None:
        """Notes an analysis that the analyzers refused, while `load` were under way."""
        self._refused += 1
        self._note(load)

    def _begin(self) -> None:
        self._started = float("inf")
        self._served: list[float] = []
        self._refused = 0
        self._peak = 0

    def _note(self, load: int) -> None:
        self._peak = max(self._peak, load)
        count = len(self._served) + self._refused
        if count == 1:
            self._started = self._clock()
        if count >= self._settings.window_count and self._clock() - self._started >= self._settings.window_seconds:
            self._judge(count)
            self._begin()

    def _judge(self, count: int) -> None:
        settings = self._settings
        median = statistics.median(self._served) if self._served else float("inf")
        if self._refused > settings.refused_share * count or self._slow(median):
            if self._peak > settings.least:
                self.limit = max(settings.least, min(self.limit, self._peak) * settings.backoff)
        elif self._peak >= settings.backoff * self.limit:
            self.limit = min(settings.most, self.limit + max(1.0, self.limit**0.5 / 2))
        self._best = min(self._best * 1.001, median)

    def _slow(self, median: float) -> bool:
        return median > max(self._settings.slow_seconds, self._settings.slow_ratio * self._best)

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self.limit:.0f}, best median {self._best * 1000:.0f} ms>"
