"""One self-contained HTML page, plots included, from an evaluation's JSON."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg")

_PAGE = Path(__file__).with_name("report.html.j2")

_TASKS = ("knowledge", "reasoning", "math", "coding", "writing", "extraction", "translation", "conversation", "other")


def render_report(evaluation: Mapping[str, Any], *, title: str, subtitle: str) -> str:
    """Returns the page. `evaluation` is what `Evaluation.as_json` gives."""
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE.read_text())
    sources = evaluation["sources"]
    return page.render(
        title=title,
        subtitle=subtitle,
        evaluation=evaluation,
        plots={name: (_gap_plot(source), _reliability_plot(source)) for name, source in sources.items()},
        shares=("20%", "50%", "80%"),
        tiers=("small", "medium", "large"),
        tasks=_TASKS,
    )


def _gap_plot(source: Mapping[str, Any]) -> str:
    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, row in source["rankings"].items():
        shares = [index / (len(row["curve"]) - 1) for index in range(len(row["curve"]))]
        axes.plot(shares, row["curve"], label=name, linewidth=2.2 if name.startswith("judge") else 1.0)
    axes.set(xlabel="share sent to the strong model", ylabel="gap recovered", ylim=(-0.1, 1.5))
    axes.legend(fontsize=7)
    return _png(figure)


def _reliability_plot(source: Mapping[str, Any]) -> str:
    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for ability, row in source["calibration"].items():
        axes.plot([b[0] for b in row["bins"]], [b[1] for b in row["bins"]], marker="o", markersize=3, label=ability)
    axes.set(xlabel="predicted success", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    return _png(figure)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return base64.b64encode(buffer.getvalue()).decode()
