"""`router batch`: many prompts in, results out as they finish, resumable."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click
from google.protobuf import json_format
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tinyroute.router.v1 import router_pb2

from router.cli.connection import Connection, connection_options, router_stub
from router.cli.errors import FAILED, USAGE, fail, run
from router.cli.output import as_json


@dataclass
class Counts:
    """What became of the prompts so far."""

    answered: int = 0
    failed: int = 0
    skipped: int = 0


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: SOURCE with .results.jsonl.")
@click.option("--retry-failed", is_flag=True, help="Asks again where the results hold an error.")
@connection_options()
def batch(source: Path, out: Path | None, target: str, timeout: float, *, retry_failed: bool) -> None:
    """Answers every prompt of SOURCE, a file of JSON lines.

    A line is a RouteRequest as JSON (`{"request_id": …, "messages": […]}`) or short `{"id": …, "prompt": "…"}`. Results
    are BatchRouteResponses, a line each, in the order they finish. Started again, only what has no result yet is asked.
    Ends with 1 when any prompt failed.
    """
    results = out or source.with_suffix(".results.jsonl")
    requests = list(read_requests(source))
    done = finished(results, retry_failed=retry_failed)
    waiting = [request for request in requests if request.request_id not in done]
    counts = Counts(skipped=len(requests) - len(waiting))
    with results.open("a", encoding="utf-8") as sink:
        run(lambda: _send(Connection(target, timeout), waiting, sink, counts), target)
    click.echo(
        f"{counts.answered} answered, {counts.failed} failed, {counts.skipped} were there already: {results}", err=True
    )
    if counts.failed:
        fail(f"{counts.failed} prompts have no answer; ask again with --retry-failed", FAILED)


def read_requests(source: Path) -> Iterator[router_pb2.RouteRequest]:
    """The requests of a file, each with an id: its own or the line's number, so that a later run knows it again."""
    seen: set[str] = set()
    with source.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            request = _request(source, number, line)
            if request.request_id in seen:
                fail(f"{source}:{number}: the id {request.request_id} was there before", USAGE)
            seen.add(request.request_id)
            yield request


def _request(source: Path, number: int, line: str) -> router_pb2.RouteRequest:
    try:
        value = json.loads(line)
        request = json_format.ParseDict(_long_form(value), router_pb2.RouteRequest())
    except (ValueError, TypeError, AttributeError, json_format.ParseError) as error:
        fail(f"{source}:{number}: no request: {error}", USAGE)
    if not request.HasField("request_id"):
        request.request_id = f"{source.stem}-{number}"
    return request


def _long_form(value: Any) -> Any:
    if not isinstance(value, dict) or "prompt" not in value:
        return value
    rest = {name: each for name, each in value.items() if name not in {"prompt", "id"}}
    if "id" in value:
        rest["request_id"] = str(value["id"])
    return rest | {"messages": [{"role": "ROLE_USER", "content": value["prompt"]}]}


def finished(results: Path, *, retry_failed: bool) -> set[str]:
    """Ids that have a result. A last line that an interrupted run left torn counts as none, and is cut off."""
    if not results.exists():
        return set()
    text = results.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        results.write_text(whole, encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines() if line.strip()]
    return {row["request_id"] for row in rows if not (retry_failed and "error" in row)}


async def _send(connection: Connection, waiting: list[router_pb2.RouteRequest], sink: TextIO, counts: Counts) -> None:
    async def requests() -> AsyncIterator[router_pb2.BatchRouteRequest]:
        for request in waiting:
            yield router_pb2.BatchRouteRequest(request=request)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("prompts", total=len(waiting))
        async with connection.channel() as channel:
            # A batch takes as long as it takes: --timeout is for single calls.
            async for result in router_stub(channel).BatchRoute(requests()):
                sink.write(as_json(result, lines=True) + "\n")
                sink.flush()
                counts.answered += result.HasField("response")
                counts.failed += result.HasField("error")
                progress.advance(task)
