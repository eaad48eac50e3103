"""What a simulated step cost, in a sentence and as a plot."""

from collections.abc import Mapping
from pathlib import Path

from deploy.k8s.scaling.simulating import Run, Scenario

BIN_SECONDS = 5.0
NOTICEABLE = 0.001
"""A smaller share of refused calls counts as none."""


def refused_shares(run: Run, scenario: Scenario) -> list[tuple[float, float]]:
    """Returns the share of the calls of each five seconds that got no answer."""
    bins = [[0, 0] for _ in range(round(scenario.seconds / BIN_SECONDS))]
    for call in run.calls:
        place = min(int(call.arrived / BIN_SECONDS), len(bins) - 1)
        bins[place][0] += 1
        bins[place][1] += call.seconds is None
    return [(index * BIN_SECONDS, refused / max(1, calls)) for index, (calls, refused) in enumerate(bins)]


def recovery_seconds(run: Run, scenario: Scenario) -> float:
    """Returns how long after the step the last noticeable refusals were."""
    late = [at for at, share in refused_shares(run, scenario) if at >= scenario.step_at and share > NOTICEABLE]
    return late[-1] + BIN_SECONDS - scenario.step_at if late else 0.0


def p99_ms(run: Run, scenario: Scenario) -> float:
    """Returns the 99th percentile of the calls that came after the step and were answered."""
    times = sorted(each.seconds for each in run.calls if each.seconds is not None and each.arrived >= scenario.step_at)
    return times[len(times) * 99 // 100] * 1e3 if times else 0.0


def summary(run: Run, scenario: Scenario) -> str:
    """Returns the figures."""
    after = [each for each in run.calls if each.arrived >= scenario.step_at]
    refused = sum(each.seconds is None for each in after)
    return (
        f"p99 of answered calls {p99_ms(run, scenario):.0f} ms, refused {refused / len(after):.1%} "
        f"of {len(after)} calls after the step, the last ones {recovery_seconds(run, scenario):.0f} s after it, "
        f"replicas {run.ready[0][1]} -> {run.ready[-1][1]}"
    )


def draw(runs: Mapping[str, Run], scenario: Scenario, path: Path) -> None:
    """Draws refusals and replicas over time."""
    import matplotlib as mpl  # noqa: PLC0415 - slow, and an extra's

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 5), layout="constrained")
    for name, run in runs.items():
        above.plot(*zip(*refused_shares(run, scenario), strict=True), label=name)
        below.step(*zip(*run.ready, strict=True), where="post", label=name)
    above.set(ylabel="share refused", title="Load times five at 60 s")
    below.set(ylabel="replicas ready", xlabel="seconds")
    above.legend()
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.axvline(scenario.step_at, color="grey", linestyle=":")
    figure.savefig(path, dpi=110)
    plt.close(figure)
