"""The waterfall, drawn without colour."""

import io
from typing import Any

from rich.console import Console

from router.cli.waterfall import bar, rows, waterfall


def span(name: str, parent: str, start_ms: float, end_ms: float, **changes: Any) -> dict[str, Any]:
    """A span named like its id."""
    return {
        "name": name,
        "service": changes.pop("service", "router"),
        "span_id": name,
        "parent_id": parent,
        "start_ns": int(start_ms * 1e6),
        "end_ns": int(end_ms * 1e6),
        "attributes": {},
        "status": "UNSET",
    } | changes


TRACE = [
    span("forward", "AnalyzePrompt", 4, 16, service="analyzer", attributes={"tinyroute.batch_size": 2}),
    span("Route", "", 0, 100, attributes={"tinyroute.tier": "SMALL", "tinyroute.cause": "QUALITY_TARGET"}),
    span("AnalyzePrompt", "rung", 3, 18, service="analyzer"),
    span("chat m", "Route", 21, 99, status="ERROR"),
    span("analysis", "Route", 1, 20),
    span("rung", "analysis", 2, 19),
    span("lost", "nobody", 50, 60),
]


def drawn(spans: list[dict[str, Any]]) -> list[str]:
    """The lines a person sees."""
    out = io.StringIO()
    Console(file=out, width=140, color_system=None).print(waterfall(spans, width=50))
    return out.getvalue().splitlines()


def test_parents_come_before_children_and_siblings_by_start() -> None:
    """A span without a known parent hangs at the top, and is not lost."""
    assert [(row.span["name"], row.depth) for row in rows(TRACE)] == [
        ("Route", 0),
        ("analysis", 1),
        ("rung", 2),
        ("AnalyzePrompt", 3),
        ("forward", 4),
        ("chat m", 1),
        ("lost", 0),
    ]


def test_a_bar_is_where_its_time_was() -> None:
    """And never vanishes."""
    assert bar(0, 1, 10) == "█" * 10
    assert bar(0.5, 1, 10) == " " * 5 + "█" * 5
    assert bar(0.5, 0.5, 10).strip()
    assert bar(1, 1, 10).strip()
    assert all(len(bar(start / 20, end / 20, 13)) == 13 for start in range(21) for end in range(start, 21))


def test_the_whole_is_one_line_a_span_and_a_legend() -> None:
    """With length and what explains it."""
    lines = drawn(TRACE)
    assert len(lines) == 1 + len(TRACE) + 1
    assert "Route" in lines[1]
    assert "100.00" in lines[1]
    assert "tier=SMALL cause=QUALITY_TARGET" in lines[1]
    assert "        forward" in lines[5]
    assert "batch_size=2" in lines[5]
    assert lines[-1] == "■ router  ■ analyzer"


def test_nothing_is_drawn_of_nothing() -> None:
    """And a trace of no length does not divide by it."""
    assert drawn([]) == ["no spans"]
    assert len(drawn([span("a", "", 1, 1)])) == 3


def test_a_parent_that_is_its_own_child_is_still_drawn_once() -> None:
    """Broken input ends."""
    assert len(list(rows([span("a", "a", 0, 1)]))) <= 1


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Names and attributes come from other programs."""
    lines = drawn([span("a\x1b[31m", "", 0, 1, attributes={"tinyroute.tier": "\x1b]0;x\x07"})])
    assert "\x1b" not in "".join(lines)
