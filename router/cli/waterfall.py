"""A trace as a waterfall for the terminal: one line a span, indented by parent, its bar where its time was.

A span is a mapping with name, service, span_id, parent_id (empty for a root), start_ns, end_ns, attributes and status
("OK", "ERROR" or "UNSET").
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from router.cli.output import printable

Span = Mapping[str, Any]

PALETTE = ("cyan", "green", "magenta", "yellow", "blue", "bright_red")
EIGHTHS = " ▏▎▍▌▋▊▉█"
ATTRIBUTES_SHOWN = 5
NAME_WIDTH_MAX = 40
TOLD = (
    "tinyroute.tier",
    "tinyroute.cause",
    "tinyroute.complexity",
    "tinyroute.confidence",
    "tinyroute.analysis.source",
    "tinyroute.rung.skip_reason",
    "tinyroute.backend",
    "tinyroute.attempt.outcome",
    "tinyroute.cost_micros",
    "tinyroute.batch_size",
    "tinyroute.batch.size",
    "tinyroute.token_count",
    "gen_ai.usage.output_tokens",
    "http.response.status_code",
    "upstream_address",
    "error.type",
)
"""Attributes worth a word beside the bar, in this order."""


@dataclass(frozen=True)
class Row:
    """A span and how deep it hangs."""

    span: Span
    depth: int


def rows(spans: Iterable[Span]) -> Iterator[Row]:
    """Parents before children, siblings by start. A span whose parent is not there hangs at the top."""
    known = {span["span_id"]: span for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(known.values(), key=lambda each: (each["start_ns"], -each["end_ns"])):
        parent = span.get("parent_id") or ""
        children.setdefault(parent if parent in known else "", []).append(span)
    waiting = [Row(span, 0) for span in reversed(children.get("", []))]
    while waiting:
        row = waiting.pop()
        yield row
        waiting += [Row(span, row.depth + 1) for span in reversed(children.get(row.span["span_id"], []))]


def bar(start: float, end: float, width: int) -> str:
    """A bar from `start` to `end`, shares of the whole, in eighths of a character; never nothing at all."""
    first = min(int(start * width), width - 1)
    eighths = max(1, round(end * width * 8) - first * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (EIGHTHS[rest] if rest else "")
    return (" " * first + drawn)[:width].ljust(width)


def waterfall(spans: Sequence[Span], width: int = 40) -> Group:
    """The trace, drawn. An empty sequence draws nothing."""
    if not spans:
        return Group(Text("no spans"))
    begin = min(span["start_ns"] for span in spans)
    whole = max(max(span["end_ns"] for span in spans) - begin, 1)
    colours = {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(services(spans))}
    names = [Text("  " * row.depth + printable(row.span["name"])) for row in rows(spans)]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=True)
    table.add_column("span", no_wrap=True, width=min(max(name.cell_len for name in names), NAME_WIDTH_MAX))
    table.add_column("ms", justify="right", no_wrap=True, width=9)
    table.add_column("", width=width, no_wrap=True)
    table.add_column("", style="dim", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows(spans):
        span, colour = row.span, colours[row.span["service"]]
        failed = span.get("status") == "ERROR"
        drawn = bar((span["start_ns"] - begin) / whole, (span["end_ns"] - begin) / whole, width)
        name = Text("  " * row.depth + printable(span["name"]), style="bold red" if failed else "")
        length = f"{(span['end_ns'] - span['start_ns']) / 1e6:.2f}"
        table.add_row(name, length, Text(drawn, style="red" if failed else colour), told(span))
    legend = Text("  ").join(Text(f"■ {printable(name)}", style=colour) for name, colour in colours.items())
    return Group(table, legend)


def services(spans: Iterable[Span]) -> list[str]:
    """Names of the services, in the order they appear in the tree."""
    return list(dict.fromkeys(row.span["service"] for row in rows(spans)))


def told(span: Span) -> str:
    """The few attributes that explain a span."""
    attributes = span.get("attributes") or {}
    words = [f"{name.rpartition('.')[2]}={_shown(attributes[name])}" for name in TOLD if name in attributes]
    return printable(" ".join(words[:ATTRIBUTES_SHOWN]))


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
