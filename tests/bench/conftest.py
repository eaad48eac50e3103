"""What the benchmarks share: figures are printed as tables and left in build/bench as JSON. Nothing judges them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from analyzer.bench.report import machine, write_json

FIGURES = Path(__file__).resolve().parents[2] / "build" / "bench"

Publish = Callable[[str, Table, Any], None]


@pytest.fixture
def publish(capsys: pytest.CaptureFixture[str]) -> Publish:
    """Prints a table of figures, says on what machine, and writes build/bench/NAME.json."""

    def show(name: str, table: Table, figures: Any) -> None:
        FIGURES.mkdir(parents=True, exist_ok=True)
        write_json(FIGURES / f"{name}.json", name, figures)
        where = machine()
        busy = os.getloadavg()[0]
        with capsys.disabled():
            console = Console(width=140)
            console.print()
            console.print(table)
            console.print(f"{where['cpu']}, {where['cores']} cores; load average {busy:.1f}", style="dim")

    return show


def seconds(usual: float) -> float:
    """How long a load lasts: BENCH_SECONDS, else the usual time."""
    return float(os.environ.get("BENCH_SECONDS", usual))
