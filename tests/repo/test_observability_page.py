"""docs/observability.md names every attribute and every metric there is, and none that is not."""

import re
from pathlib import Path

import pytest

from analyzer.adapters import telemetry as analyzer_telemetry
from router import attributes
from tests.support.exporters import exported, make_analyzer, make_router

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "observability.md").read_text()
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
BESIDE_THE_TABLES = {"target_info", "rpc_server_call_duration_seconds"}


def rows() -> set[str]:
    """Returns what the tables are about."""
    return set(ROW.findall(PAGE))


def test_the_attributes_are_those_of_the_code() -> None:
    """Of both services, whatever is named tinyroute.something."""
    modules = (attributes, analyzer_telemetry)
    named = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    ours = {name for name in named if name.startswith("tinyroute.") and not name.endswith(".")}
    assert {row for row in rows() if row.startswith("tinyroute.")} == ours


async def test_the_metrics_are_those_of_the_exporters() -> None:
    """By their names in Prometheus."""
    page = await exported(make_router) + await exported(make_analyzer)
    families = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE)) - BESIDE_THE_TABLES
    assert {row for row in rows() if "." not in row} == families


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE))))
def test_links_lead_somewhere(link: str) -> None:
    """The picture too."""
    assert (Path(__file__).resolve().parents[2] / "docs" / link).exists()
