"""What the shipped autoscaler does to a load that grows fivefold at once, by simulation.

    python -m deploy.k8s.scaling --store ~/.local/share/tinyroute/models --png docs/kubernetes-scaling.png

Measured here: the seconds of a forward pass. Taken from the manifests: the autoscaler's settings. Assumed: how long a
replica takes to start, and how old metrics are. Not simulated: Envoy's hedges, the network, caches (they only help).
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML

from analyzer.adapters.modelstore import default_root
from deploy.k8s.scaling.autoscaling import CPU, ScalerSettings
from deploy.k8s.scaling.measuring import service_times
from deploy.k8s.scaling.report import draw, summary
from deploy.k8s.scaling.simulating import Scenario, simulate

K8S = Path(__file__).resolve().parents[1]


def shipped() -> ScalerSettings:
    """The settings of the production overlay."""
    yaml = YAML(typ="safe")
    base = yaml.load(K8S / "base/analyzer-autoscaler.yaml")
    base["spec"] |= yaml.load(K8S / "overlays/production/autoscaler-floor.yaml")["spec"]
    return ScalerSettings.of(base)


def main() -> None:
    """Prints the figures and draws them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=default_root(os.environ))
    parser.add_argument("--times", type=Path, help="service times of an earlier run, instead of measuring")
    parser.add_argument("--startup-seconds", type=float, default=20)
    parser.add_argument("--png", type=Path)
    parser.add_argument("--json", type=Path, help="where to write the service times")
    given = parser.parse_args()
    times = json.loads(given.times.read_text()) if given.times else service_times(given.store)
    if given.json:
        given.json.write_text(json.dumps(times))
    print("ms of a pass over 1 to 8 prompts of 64 tokens:", ", ".join(f"{each * 1e3:.1f}" for each in times))
    settings = shipped()
    scenario = Scenario(tuple(times), replicas=settings.least, startup_seconds=given.startup_seconds)
    cpu_alone = replace(settings, targets={CPU: settings.targets[CPU]})
    runs = {"queue wait and CPU": simulate(scenario, settings), "CPU alone": simulate(scenario, cpu_alone)}
    print(f"load {scenario.rate_before:.0f}/s, from {scenario.step_at:.0f} s on {scenario.rate_after:.0f}/s")
    for name, run in runs.items():
        print(f"{name}: {summary(run, scenario)}")
    if given.png:
        draw(runs, scenario, given.png)


if __name__ == "__main__":
    main()
