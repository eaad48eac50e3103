"""What a measurement leaves behind: JSON with the machine it ran on, and plots."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analyzer.adapters.runtime import cpu_fingerprint
from analyzer.bench.engines import LIMIT_MS, DepthRow
from analyzer.bench.summary import Summary


def machine() -> dict[str, Any]:
    """The machine a figure was measured on: CPU, cores this process may use, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu_fingerprint().model, "cores": cores, "system": platform.platform(terse=True)}


def write_json(path: Path, kind: str, figures: Any) -> None:
    """Writes figures (dataclasses, lists, mappings) beside what they were measured on and when (UTC)."""
    found = {"kind": kind, "machine": machine(), "time": datetime.now(UTC).isoformat(timespec="seconds")}
    path.write_text(json.dumps(found | {"figures": _plain(figures)}, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def plot_depths(path: Path, rows: Sequence[DepthRow], title: str) -> None:
    """A PNG of latency over tokens, one line a depth and number of threads, the limit dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    styles = dict(zip(sorted({row.threads for row in rows}), "-:", strict=False))
    for row in rows:
        label = f"{row.layers} layers, {row.threads} thread{'s' if row.threads > 1 else ''}"
        colour = f"C{sorted({r.layers for r in rows}).index(row.layers)}"
        line = [row.median_ms[tokens] for tokens in sorted(row.median_ms)]
        axes.plot(sorted(row.median_ms), line, styles.get(row.threads, "--"), color=colour, marker="o", label=label)
    axes.axhline(LIMIT_MS, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="tokens of the prompt", ylabel="median milliseconds a forward pass", title=title, ylim=(0, None))
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def plot_loads(path: Path, runs: Sequence[tuple[str, Summary]], title: str) -> None:
    """A PNG of the latency percentiles of several runs, the deadline dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for name, summary in runs:
        shares = list(summary.latency_ms)
        axes.plot(shares, list(summary.latency_ms.values()), marker="o", label=f"{name}: {summary.goodput:.0f}/s good")
        axes.axhline(summary.deadline_ms, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="share of the answers", ylabel="milliseconds since the call was due", title=title, yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
