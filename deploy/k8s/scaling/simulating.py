"""A step of the load, a fleet, and an autoscaler that sees it late."""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.k8s.scaling.autoscaling import CPU, WAIT, Scaler, ScalerSettings
from deploy.k8s.scaling.fleet import Ended, Fleet, Replica

SYNC_SECONDS = 15.0
SCRAPE_SECONDS = 5.0
WINDOW_SECONDS = 30.0
"""What the metrics are means over."""


@dataclass(frozen=True)
class Scenario:
    """The load and the replicas before the step."""

    times: tuple[float, ...]
    replicas: int = 3
    utilization: float = 0.5
    """Of the replicas before the step, prompts one at a time."""

    growth: float = 5.0
    step_at: float = 60.0
    seconds: float = 300.0
    startup_seconds: float = 20.0
    seed: int = 1

    @property
    def rate_before(self) -> float:
        """Calls a second."""
        return self.utilization * self.replicas / self.times[0]

    @property
    def rate_after(self) -> float:
        """Calls a second."""
        return self.rate_before * self.growth

    def rate(self, moment: float) -> float:
        """Calls a second at a moment."""
        return self.rate_after if moment >= self.step_at else self.rate_before


@dataclass(frozen=True)
class Run:
    """What came of it: every call, and how many replicas were ready when."""

    calls: Sequence[Ended]
    ready: Sequence[tuple[float, int]]


@dataclass(frozen=True)
class Reading:
    """A replica's counters at a scrape."""

    wait_seconds: float = 0.0
    wait_count: int = 0
    busy_seconds: float = 0.0


def simulate(scenario: Scenario, settings: ScalerSettings) -> Run:
    """Returns what happens to each call."""
    fleet = Fleet(scenario.replicas, scenario.times, scenario.seed)
    scaler, ready = Scaler(settings), [(0.0, scenario.replicas)]
    scrapes: list[dict[int, Reading]] = []
    fleet.arrivals(scenario.rate)
    moment = 0.0
    while moment < scenario.seconds:
        moment += SCRAPE_SECONDS
        fleet.run(moment)
        scrapes.append({id(replica): _reading(replica) for replica in fleet.ready})
        if moment % SYNC_SECONDS == 0:
            count = len(fleet.ready) + fleet.starting
            more = scaler.next_count(moment, count, _values(scrapes)) - count
            if more > 0:
                fleet.start(more, scenario.startup_seconds)
        ready.append((moment, len(fleet.ready)))
    return Run(fleet.ended, ready)


def _reading(replica: Replica) -> Reading:
    return Reading(replica.wait_seconds, replica.wait_count, replica.busy_seconds)


def _values(scrapes: list[dict[int, Reading]]) -> dict[str, list[float]]:
    """Means over the window, of the replicas that the last two scrapes know."""
    window = scrapes[-1 - round(WINDOW_SECONDS / SCRAPE_SECONDS) :]
    waits, shares = [], []
    for replica, last in window[-1].items():
        known = [scrape[replica] for scrape in window if replica in scrape]
        if len(known) < 2:  # noqa: PLR2004 - a rate needs two readings
            continue
        first, seconds = known[0], (len(known) - 1) * SCRAPE_SECONDS
        if counted := last.wait_count - first.wait_count:
            waits.append((last.wait_seconds - first.wait_seconds) / counted)
        shares.append((last.busy_seconds - first.busy_seconds) / seconds)
    return {WAIT: waits, CPU: shares}
