"""A decision and its answer for people: tier, why, every tier side by side, cost, time."""

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2

from router.cli.output import dollars, printable

COLOURS = {
    router_pb2.TIER_SMALL: "green",
    router_pb2.TIER_MEDIUM: "yellow",
    router_pb2.TIER_LARGE: "magenta",
}


def word(enum: object, number: int, prefix: str) -> str:
    """An enum's value without its prefix, in lower case."""
    name: str = enum.Name(number)  # type: ignore[attr-defined]
    return name.removeprefix(prefix).lower().replace("_", " ")


def tier_name(tier: int) -> Text:
    """A tier in its colour."""
    name = router_pb2.Tier.Name(router_pb2.Tier.ValueType(tier)).removeprefix("TIER_")
    return Text(name, style=f"bold {COLOURS.get(router_pb2.Tier.ValueType(tier), 'white')}")


def facts(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names and values, without lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def decision(made: router_pb2.Decision) -> Group:
    """The choice, why, and what the other tiers would have been."""
    head = Text.assemble(tier_name(made.tier), f"  {printable(made.backend)}" if made.backend else "")
    rows: list[tuple[str, RenderableType]] = [
        ("tier", head),
        ("why", Text(f"{printable(made.explanation)} [{word(router_pb2.Cause, made.cause, 'CAUSE_')}]")),
        ("analysis", Text(analysis_line(made))),
    ]
    rows += [("skipped", skipped(each)) for each in made.skipped_rungs]
    return Group(facts(rows), considered(made))


def skipped(made: router_pb2.SkippedRung) -> str:
    """A rung that gave no analysis, and why."""
    reason = word(router_pb2.SkipReason, made.reason, "SKIP_REASON_")
    return f"{word(router_pb2.Rung, made.rung, 'RUNG_')}: {reason}"


def analysis_line(made: router_pb2.Decision) -> str:
    """Complexity, confidence, kind of work, and where they come from."""
    source = word(router_pb2.AnalysisSource, made.analysis_source, "ANALYSIS_SOURCE_")
    if made.analysis_source == router_pb2.ANALYSIS_SOURCE_NONE:
        return "none: no rung answered"
    task = word(prompt_pb2.Task, made.task, "TASK_")
    cut = ", truncated" if made.truncated else ""
    return (
        f"complexity {made.complexity:.3f}, gain {made.expected_gain:.3f}, confidence {made.confidence:.2f}, "
        f"task {task}{cut}, by {source} {printable(made.analyzer_revision)}"
    )


def considered(made: router_pb2.Decision) -> Table:
    """Predicted success and cost of every tier, side by side."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("", "tier", "predicted success", "estimated cost", ""):
        table.add_column(column, justify="right" if "success" in column or "cost" in column else "left")
    for estimate in made.considered:
        known = estimate.HasField("estimated_cost_micros")
        table.add_row(
            "→" if estimate.tier == made.tier else "",
            tier_name(estimate.tier),
            f"{estimate.predicted_success:.3f}",
            dollars(estimate.estimated_cost_micros) if known else "not known",
            ""
            if estimate.allowed
            else f"not allowed: {word(router_pb2.Exclusion, estimate.excluded_by, 'EXCLUSION_')}",
        )
    return table


def milliseconds(duration: Duration) -> str:
    """A length of time for people."""
    return f"{duration.ToTimedelta().total_seconds() * 1000:.1f} ms"


def timings(made: router_pb2.RouteTimings) -> str:
    """Where the time went; what did not happen is left out."""
    parts = {
        "analysis": "analysis",
        "analyzer_queue": "queue",
        "analyzer_tokenize": "tokenize",
        "analyzer_forward": "forward",
        "plan": "plan",
        "dispatch": "dispatch",
        "time_to_first_token": "first token",
    }
    told = [f"{name} {milliseconds(getattr(made, field))}" for field, name in parts.items() if made.HasField(field)]  # type: ignore[arg-type]
    return f"{milliseconds(made.total)}: {', '.join(told)}"


def cost(made: router_pb2.Cost) -> str:
    """What it cost and saved; an unknown price is said, never shown as 0."""
    if made.cost_unknown or not made.HasField("total_micros"):
        return "not known: a price is missing"
    told = f"{dollars(made.total_micros)}{' (estimated)' if made.estimated else ''}"
    if made.analysis_micros:
        told += f", of it analysis {dollars(made.analysis_micros)}"
    if made.HasField("saved_micros"):
        told += f", saved {dollars(made.saved_micros)} against always using the top tier"
    return told


def tokens(made: router_pb2.Usage) -> str:
    """Tokens read and written."""
    return f"{made.input_token_count} in, {made.output_token_count} out{' (estimated)' if made.estimated else ''}"


def attempts(made: Iterable[router_pb2.Attempt]) -> str:
    """Every call to a backend, in order."""
    return " → ".join(
        f"{printable(each.backend)} {word(router_pb2.AttemptOutcome, each.outcome, 'ATTEMPT_OUTCOME_')} "
        f"{milliseconds(each.duration)}"
        for each in made
    )


def summary(console: Console, made: router_pb2.RouteResponse | router_pb2.StreamRouteResponse) -> None:
    """What goes below an answer."""
    console.print(decision(made.decision))
    rows: list[tuple[str, RenderableType]] = [
        ("calls", attempts(made.attempts)),
        ("tokens", tokens(made.usage)),
        ("cost", cost(made.cost)),
        ("time", timings(made.timings)),
        ("request", made.request_id),
    ]
    console.print(facts(rows))
