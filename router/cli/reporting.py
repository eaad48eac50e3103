"""`router outcome` and `router usage`: verdicts in, costs out."""

import csv
import datetime as dt
import io
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from tinyroute.router.v1 import admin_pb2, router_pb2

from router.cli.connection import (
    DEFAULT_ADMIN_TARGET,
    Connection,
    connection_options,
    router_stub,
    usage_stub,
)
from router.cli.errors import run
from router.cli.output import as_json, dollars, wants_json
from router.cli.prompt_options import TIERS, tier

DIMENSIONS = ("tenant", "team", "feature", "tier", "backend", "day")
COUNTS = {
    "request_count": "requests",
    "attempt_count": "calls",
    "input_token_count": "in",
    "output_token_count": "out",
    "cost_unknown_count": "unpriced",
}
"""Counts of a row, and their short headings."""

ALWAYS_SHOWN = {"request_count", "cost_micros"}
MONEY = {"cost_micros": "cost", "analysis_cost_micros": "analysis", "saved_micros": "saved"}


@click.command()
@click.argument("request_id")
@click.argument("verdict", metavar="good|bad|0..1")
@click.option("--preferred-tier", type=TIERS, help="The tier that would have been right.")
@connection_options()
def outcome(request_id: str, verdict: str, preferred_tier: str | None, target: str, timeout: float) -> None:
    """Says how good the answer of REQUEST_ID was; a later verdict replaces an earlier one."""
    request = router_pb2.ReportOutcomeRequest(
        request_id=request_id, preferred_tier=tier(preferred_tier), **_verdict(verdict)
    )

    async def call() -> router_pb2.ReportOutcomeResponse:
        async with Connection(target, timeout).channel() as channel:
            return await router_stub(channel).ReportOutcome(request, timeout=timeout)

    response = run(call, target)
    click.echo("replaced" if response.replaced else "kept")


def _verdict(text: str) -> dict[str, Any]:
    if text.lower() in {"good", "bad"}:
        return {"verdict": router_pb2.Verdict.Value(f"VERDICT_{text.upper()}")}
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise click.BadParameter(f"{text!r} is neither good nor bad nor a number from 0 to 1", param_hint="verdict")
    return {"score": score}


@click.command()
@click.option("--by", "dimensions", multiple=True, type=click.Choice(DIMENSIONS), help="Groups, in this order.")
@click.option("--since", type=click.DateTime(), help="From this moment on (UTC). Default: start of the month.")
@click.option("--until", type=click.DateTime(), help="Before this moment (UTC). Default: now.")
@click.option("--tenant", default="", help="Only this tenant.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), help="Default: table, or JSON when piped."
)
@connection_options(DEFAULT_ADMIN_TARGET)
def usage(form: str | None, target: str, timeout: float, **options: Any) -> None:
    """Shows what was spent, by groups. Asks the admin port."""
    request = _usage_request(options)

    async def call() -> admin_pb2.QueryUsageResponse:
        async with Connection(target, timeout).channel() as channel:
            return await usage_stub(channel).QueryUsage(request, timeout=timeout)

    response = run(call, target)
    form = form or ("json" if wants_json(asked=False) else "table")
    if form == "json":
        click.echo(as_json(response))
    elif form == "csv":
        click.echo(_csv(response, options["dimensions"]), nl=False)
    else:
        Console(highlight=False).print(_table(response, options["dimensions"]))


def _usage_request(options: dict[str, Any]) -> admin_pb2.QueryUsageRequest:
    request = admin_pb2.QueryUsageRequest(
        group_by=[admin_pb2.UsageDimension.Value(f"USAGE_DIMENSION_{name.upper()}") for name in options["dimensions"]],
        tenant=options["tenant"],
    )
    if options["since"]:
        request.start_time.FromDatetime(options["since"].replace(tzinfo=dt.UTC))
    if options["until"]:
        request.end_time.FromDatetime(options["until"].replace(tzinfo=dt.UTC))
    return request


def _csv(response: admin_pb2.QueryUsageResponse, dimensions: tuple[str, ...]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*dimensions, *COUNTS, *MONEY])
    for row in response.rows:
        writer.writerow([*row.group, *(getattr(row, name) for name in (*COUNTS, *MONEY))])
    return out.getvalue()


def _table(response: admin_pb2.QueryUsageResponse, dimensions: tuple[str, ...]) -> Table:
    """Columns that are 0 everywhere are left out, so that the rest fits."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in dimensions:
        table.add_column(name, no_wrap=True)
    shown = {
        name: heading
        for name, heading in (COUNTS | MONEY).items()
        if name in ALWAYS_SHOWN or any(getattr(row, name) for row in response.rows)
    }
    for heading in shown.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in response.rows:
        cells = (_cell(name, getattr(row, name)) for name in shown)
        table.add_row(*row.group, *cells)
    return table


def _cell(name: str, value: int) -> str:
    return dollars(value) if name in MONEY else str(value)
