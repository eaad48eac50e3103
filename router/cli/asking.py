"""`router ask` and `router decide`: one prompt, one answer."""

from typing import Any

import click
from rich.console import Console
from tinyroute.router.v1 import router_pb2

from router.cli import render
from router.cli.connection import Connection, connection_options, router_stub
from router.cli.errors import FAILED, fail, run
from router.cli.output import as_json, printable, wants_json
from router.cli.prompt_options import fields, prompt_options


@click.command()
@prompt_options
@connection_options()
@click.option("--stream", is_flag=True, help="Shows the answer as it comes; as JSON, one message a line.")
@click.option("--json", "asked_json", is_flag=True, help="JSON alone; the default when piped.")
def ask(target: str, timeout: float, *, stream: bool, asked_json: bool, **options: Any) -> None:
    """Has PROMPT answered by the cheapest tier that will answer it well.

    Reads the prompt from standard input when it is `-` or missing.
    """
    connection = Connection(target, timeout)
    json = wants_json(asked=asked_json)
    if stream:
        request = router_pb2.StreamRouteRequest(**fields(options))
        run(lambda: _stream(connection, request, json=json), target)
        return
    response = run(lambda: _route(connection, router_pb2.RouteRequest(**fields(options))), target)
    if json:
        click.echo(as_json(response))
        return
    console = Console(highlight=False)
    console.print(printable(response.text), markup=False)
    console.rule(style="dim")
    render.summary(console, response)


@click.command()
@prompt_options
@connection_options()
@click.option("--json", "asked_json", is_flag=True, help="JSON alone; the default when piped.")
def decide(target: str, timeout: float, *, asked_json: bool, **options: Any) -> None:
    """Shows which tier PROMPT would go to, and why; nothing is sent there."""
    response = run(lambda: _decide(Connection(target, timeout), router_pb2.DecideRequest(**fields(options))), target)
    if wants_json(asked=asked_json):
        click.echo(as_json(response))
        return
    console = Console(highlight=False)
    console.print(render.decision(response.decision))
    console.print(render.facts([("time", render.timings(response.timings)), ("request", response.request_id)]))


async def _route(connection: Connection, request: router_pb2.RouteRequest) -> router_pb2.RouteResponse:
    async with connection.channel() as channel:
        return await router_stub(channel).Route(request, timeout=connection.timeout)


async def _decide(connection: Connection, request: router_pb2.DecideRequest) -> router_pb2.DecideResponse:
    async with connection.channel() as channel:
        return await router_stub(channel).Decide(request, timeout=connection.timeout)


async def _stream(connection: Connection, request: router_pb2.StreamRouteRequest, *, json: bool) -> None:
    """Prints as it comes. A stream without its last message was cut, whatever its status says."""
    first = last = None
    async with connection.channel() as channel:
        async for piece in router_stub(channel).StreamRoute(request, timeout=connection.timeout):
            click.echo(as_json(piece, lines=True) if json else printable(piece.delta), nl=json)
            first, last = first or piece, piece
    if first is None or last is None or not last.finish_reason:
        fail("the answer was cut off", FAILED)
    if not json:
        click.echo()
        console = Console(highlight=False)
        console.rule(style="dim")
        if not last.HasField("decision"):
            last.decision.CopyFrom(first.decision)
        last.request_id = first.request_id
        render.summary(console, last)
