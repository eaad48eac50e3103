"""The bench command line, without a service."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzer.bench.engines import DepthRow, EngineRow
from analyzer.bench.load import Outcome, Reply, Sample
from analyzer.bench.race import Shape
from analyzer.bench.report import plot_depths, plot_loads, write_json
from analyzer.bench.summary import summarise
from analyzer.cli.bench import bench


@pytest.mark.parametrize("words", ["0,5", "many"])
def test_lengths_that_are_no_positive_numbers_are_a_usage_error(words: str) -> None:
    """The message says what a list looks like; the exit code is click's for wrong usage."""
    result = CliRunner().invoke(bench, ["--words", words])
    assert result.exit_code == 2
    assert "1 or more" in result.output or "such as 16,64,128" in result.output


def test_options_without_a_command_mean_load_and_help_means_the_group() -> None:
    """`analyzer bench --prompts FILE` is what the documentation shows."""
    assert "Usage: bench load" in CliRunner().invoke(bench, ["--rate", "none"]).output
    assert "depth" in CliRunner().invoke(bench, ["--help"]).output


def test_a_depth_holds_the_longest_prompt_whose_worst_time_is_within_the_limit() -> None:
    """Medians don't count: the promise is about the slow ones."""
    row = DepthRow(11, 2, {16: 20.0, 64: 60.0, 128: 90.0}, {16: 25.0, 64: 99.0, 128: 120.0})
    assert row.holds() == 64
    assert row.holds(limit_ms=10) == 0


def test_reports_say_where_they_were_measured(tmp_path: Path) -> None:
    """JSON holds the machine; plots are pictures with something in them."""
    rows = [DepthRow(6, 1, {16: 10.0, 64: 30.0}, {16: 11.0, 64: 35.0})]
    summary = summarise([Sample(0, 0.01, Reply(Outcome.ANSWERED))], seconds=1, deadline_ms=100)
    write_json(tmp_path / "figures.json", "engines", [EngineRow("x", {Shape(16): 1.0}, {Shape(16): 1.0})])
    plot_depths(tmp_path / "depths.png", rows, "depths")
    plot_loads(tmp_path / "loads.png", [("one", summary)], "loads")
    text = (tmp_path / "figures.json").read_text()
    assert '"cores"' in text
    assert '"16": 1.0' in text
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("depths.png", "loads.png"))
