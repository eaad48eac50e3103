"""What measured tests share: figures are printed as tables and left in build/ as JSON, naming the machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from analyzer.bench.report import machine, write_json

BUILD = Path(__file__).resolve().parents[2] / "build"

Publish = Callable[[str, Table, Any], None]


def publisher(kind: str, capsys: pytest.CaptureFixture[str]) -> Publish:
    """Returns what prints a table of figures, says on what machine, and writes build/KIND/NAME.json."""
    folder = BUILD / kind

    def show(name: str, table: Table, figures: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{name}.json", name, figures)
        where = machine()
        busy = os.getloadavg()[0]
        with capsys.disabled():
            console = Console(width=140)
            console.print()
            console.print(table)
            console.print(f"{where['cpu']}, {where['cores']} cores; load average {busy:.1f}", style="dim")

    return show


def seconds(usual: float, variable: str = "BENCH_SECONDS") -> float:
    """How long a load lasts: what the environment variable says, else the usual time."""
    return float(os.environ.get(variable, usual))
