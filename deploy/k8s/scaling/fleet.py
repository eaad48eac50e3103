"""Analyzer replicas under arrivals: queues, micro-batches, deadlines. Time is simulated, service times are measured."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DEADLINE_SECONDS = 0.1
MOST_WAITING = 512
OVERLOAD_FACTOR = 1.5
"""Envoy gives no replica more than this times the average of open calls."""

ServiceTimes = Sequence[float]
"""Seconds of a pass over 1, 2, 3, ... prompts."""


@dataclass
class Replica:
    """One replica: a queue, and one pass at a time."""

    waiting: deque[float] = field(default_factory=deque)
    running: tuple[float, ...] = ()
    wait_seconds: float = 0.0
    wait_count: int = 0
    busy_seconds: float = 0.0

    @property
    def open(self) -> int:
        """Calls it has not ended."""
        return len(self.waiting) + len(self.running)


@dataclass(frozen=True)
class Ended:
    """A call: when it came, how long it took; None: refused, or dropped since it could not end in time."""

    arrived: float
    seconds: float | None


class Fleet:
    """Replicas behind a balancer."""

    def __init__(self, count: int, times: ServiceTimes, seed: int) -> None:
        self.now = 0.0
        self.ready = [Replica() for _ in range(count)]
        self.starting = 0
        self.ended: list[Ended] = []
        self._times = times
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Has something happen."""
        heapq.heappush(self._events, (moment, next(self._order), action))

    def run(self, until: float) -> None:
        """Lets everything happen up to a moment."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    def arrivals(self, rate: Callable[[float], float]) -> None:
        """Calls come at random, so many a second as `rate` says of a moment."""

        def arrive() -> None:
            self._take(self.now)
            self.at(self.now + self._chance.expovariate(rate(self.now)), arrive)

        self.at(self._chance.expovariate(rate(0.0)), arrive)

    def start(self, count: int, seconds: float) -> None:
        """Adds replicas that are ready after so many seconds."""

        def become_ready() -> None:
            self.starting -= 1
            self.ready.append(Replica())

        self.starting += count
        for _ in range(count):
            self.at(self.now + seconds, become_ready)

    def _take(self, arrived: float) -> None:
        replica = self._chance.choice(self.ready)
        if replica.open + 1 > OVERLOAD_FACTOR * (sum(each.open for each in self.ready) + 1) / len(self.ready):
            replica = min(self.ready, key=lambda each: each.open)
        if len(replica.waiting) >= MOST_WAITING:
            self.ended.append(Ended(arrived, None))
            return
        replica.waiting.append(arrived)
        if not replica.running:
            self._begin(replica)

    def _begin(self, replica: Replica) -> None:
        """Runs the largest batch in which the oldest call still ends in time; calls that can't are dropped."""
        while replica.waiting:
            left = replica.waiting[0] + DEADLINE_SECONDS - self.now
            sizes = range(1, min(len(replica.waiting), len(self._times)) + 1)
            fitting = [size for size in sizes if self._times[size - 1] <= left]
            if fitting:
                self._pass_over(replica, fitting[-1])
                return
            self.ended.append(Ended(replica.waiting.popleft(), None))

    def _pass_over(self, replica: Replica, size: int) -> None:
        seconds = self._times[size - 1]
        replica.running = tuple(replica.waiting.popleft() for _ in range(size))
        replica.wait_seconds += sum(self.now - arrived for arrived in replica.running)
        replica.wait_count += size
        replica.busy_seconds += seconds
        self.at(self.now + seconds, lambda: self._finish(replica))

    def _finish(self, replica: Replica) -> None:
        self.ended.extend(Ended(arrived, self.now - arrived) for arrived in replica.running)
        replica.running = ()
        self._begin(replica)
