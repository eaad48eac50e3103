"""`router policy curve`: what thresholds would have cost and won on recorded traffic, on a terminal or as a picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.cli.checking import CONFIG, load
from router.cli.errors import FAILED, NOT_THERE, UNREACHABLE, fail
from router.cli.output import wants_json
from router.composition.reviewing import look_back
from router.learning.replay import Interval, ReplayPoint
from router.learning.review import Review
from servicekit.errors import NotFound, Unavailable

BAR = 24
NO_DRIFT, STRONG_DRIFT = 0.1, 0.25


@click.command()
@CONFIG
@click.option("--revision", default="", help="Default: the one that serves.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Writes the curve as a picture, too.")
@click.option("--json", "asked_json", is_flag=True, help="JSON alone; the default when piped.")
def curve(config: Path, revision: str, png: Path | None, *, asked_json: bool) -> None:
    """Replays recorded traffic: what thresholds would have cost and won. Reads the configuration's ledger itself."""
    found = _look_back(config, revision)
    if png is not None:
        _draw(found, png)
    if wants_json(asked=asked_json):
        click.echo(json.dumps(as_data(found), indent=2))
        return
    console = Console(highlight=False)
    console.print(table(found))
    console.print(f"{found.cases} requests, {found.outcomes} verdicts, {found.pairs} shadow pairs. {drift(found)}")


def _look_back(config: Path, revision: str) -> Review:
    try:
        found = look_back(load(config), revision)
    except NotFound as error:
        fail(error.message, NOT_THERE)
    except Unavailable as error:
        fail(error.message, UNREACHABLE)
    if not found.points:
        fail("no recorded request has been analysed and has the prices of all tiers: nothing to replay", NOT_THERE)
    return found


def table(found: Review) -> Table:
    """A line a threshold, the one in force marked; intervals at 95 %."""
    shown = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), title=f"policy {found.policy.revision}")
    for heading in ("", "threshold", "mean cost", "saved", "", "predicted quality", "missed at most"):
        shown.add_column(heading, justify="left" if heading in {"", "saved"} else "right", no_wrap=True)
    for point in found.points:
        here = point.threshold == found.policy.quality_target
        shown.add_row(*_cells(point, found.bound(point.threshold), here=here), style="bold" if here else "")
    return shown


def _cells(point: ReplayPoint, bound: float | None, *, here: bool) -> tuple[Text | str, ...]:
    cost = point.mean_cost_micros
    filled = round(max(point.saved_share.value, 0.0) * BAR)
    return (
        "→" if here else "",
        f"{point.threshold:.3f}",
        f"${cost.value / 1e6:.6f}",
        _interval(point.saved_share),
        Text("█" * filled + "·" * (BAR - filled), style="green"),
        _interval(point.quality_share),
        "not known" if bound is None else f"{bound:.1%}",
    )


def _interval(figure: Interval) -> str:
    return f"{figure.value:6.1%} ({figure.low:.1%} to {figure.high:.1%})"


def drift(found: Review) -> str:
    """How far traffic is from what the policy was fitted to, as a sentence."""
    if found.drift is None:
        return "Drift is measured from a promoted policy on."
    scores = found.drift.scores
    how = "no drift to speak of" if scores < NO_DRIFT else "some drift" if scores < STRONG_DRIFT else "strong drift"
    return f"Since it was fitted: {how} (scores {scores:.2f}), {found.drift.tier_mix:.0%} of requests go elsewhere."


def as_data(found: Review) -> dict[str, Any]:
    """The same for programs."""
    return {
        "revision": found.policy.revision,
        "quality_target": found.policy.quality_target,
        "points": [asdict(point) | {"failure_bound": found.bound(point.threshold)} for point in found.points],
        "drift": None if found.drift is None else asdict(found.drift),
        "cases": found.cases,
        "outcomes": found.outcomes,
        "pairs": found.pairs,
    }


def _draw(found: Review, path: Path) -> None:
    """Writes the picture: predicted quality over mean cost, with both intervals."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy, and an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        fail("pictures need matplotlib: pip install 'tinyroute[bench]'", FAILED)
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    costs, quality = (
        [getattr(point, name) for point in found.points] for name in ("mean_cost_micros", "quality_share")
    )
    axes.errorbar(
        [each.value / 1e6 for each in costs],
        [each.value for each in quality],
        xerr=[[(e.value - e.low) / 1e6 for e in costs], [(e.high - e.value) / 1e6 for e in costs]],
        yerr=[[e.value - e.low for e in quality], [e.high - e.value for e in quality]],
        marker="o",
        capsize=2,
    )
    here = next(point for point in found.points if point.threshold == found.policy.quality_target)
    axes.plot(here.mean_cost_micros.value / 1e6, here.quality_share.value, "r*", markersize=14, label="in force")
    axes.set(xlabel="mean cost of a request, USD", ylabel="predicted quality, share of the top tier's")
    axes.set_title(f"policy {found.policy.revision}, {found.cases} requests")
    axes.legend()
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        fail(f"{path} can't be written: {error.strerror}", FAILED)
