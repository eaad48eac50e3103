"""How many analyses a second one replica with one core carries, by simulation with measured service times.

python -m deploy.k8s.scaling.steady --store ~/.local/share/tinyroute/models
"""

import argparse
import os
from pathlib import Path

from analyzer.adapters.modelstore import default_root
from deploy.k8s.scaling.fleet import Fleet, ServiceTimes
from deploy.k8s.scaling.measuring import service_times

REPLICAS = 10
SECONDS = 120.0


def carried(times: ServiceTimes, rate: float, seed: int = 1) -> tuple[float, float, float]:
    """Returns p50 and p99 of the answered calls in seconds, and the share refused, at so many calls a replica."""
    fleet = Fleet(REPLICAS, times, seed)
    fleet.arrivals(lambda _: rate * REPLICAS)
    fleet.run(SECONDS)
    answered = sorted(each.seconds for each in fleet.ended if each.seconds is not None)
    refused = 1 - len(answered) / len(fleet.ended)
    return answered[len(answered) // 2], answered[len(answered) * 99 // 100], refused


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=default_root(os.environ))
    times = service_times(parser.parse_args().store)
    print("ms of a pass over 1 to 8 prompts of 64 tokens:", ", ".join(f"{each * 1e3:.1f}" for each in times))
    print("per replica and second   p50 ms   p99 ms   refused")
    for rate in range(20, 75, 5):
        p50, p99, refused = carried(times, rate)
        print(f"{rate:22}   {p50 * 1e3:6.0f}   {p99 * 1e3:6.0f}   {refused:7.2%}")


if __name__ == "__main__":
    main()
