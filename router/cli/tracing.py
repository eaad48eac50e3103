"""`router trace`: the waterfall of one request, from the trace receiver of the local stack."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from router.cli.errors import NOT_THERE, UNREACHABLE, USAGE, fail
from router.cli.waterfall import waterfall

STACK = Path(".run/stack.json")
DEFAULT_RECEIVER = "127.0.0.1:4318"
POLL_SECONDS = 0.5
HTTP_SECONDS = 5.0

Trace = dict[str, Any]


@click.command()
@click.argument("request_id")
@click.option("--receiver", envvar="TINYROUTE_TRACES", help="Trace receiver. Default: the local stack's.")
@click.option("--wait", default=15.0, show_default=True, help="Seconds to wait for spans that are on their way.")
@click.option("--json", "asked_json", is_flag=True, help="The spans as JSON.")
def trace(request_id: str, receiver: str | None, wait: float, *, asked_json: bool) -> None:
    """Draws where the time of REQUEST_ID went, as a waterfall."""
    base = _base(receiver or _of_the_stack())
    traces = find(base, request_id, wait)
    if not traces:
        hint = "is the router told to send them (OTEL_EXPORTER_OTLP_ENDPOINT)?"
        fail(f"no spans of {request_id} at {base}; {hint}", NOT_THERE)
    if asked_json:
        click.echo(json.dumps({"traces": traces}, indent=2))
        return
    console = Console(highlight=False)
    for each in traces:
        console.print(Text(f"trace {each['trace_id']}", style="dim"))
        console.print(waterfall(each["spans"]))


def find(base: str, request_id: str, wait: float) -> list[Trace]:
    """The request's traces, once no more spans come or the time is up: services send theirs some seconds late."""
    until = time.monotonic() + wait
    before = -1
    while True:
        traces = _ask(f"{base}/api/traces?{urllib.parse.urlencode({'request_id': request_id})}")
        count = sum(len(each["spans"]) for each in traces)
        if (traces and count == before) or time.monotonic() >= until:
            return traces
        before = count
        # Three times longer once something came: the last service to send is the slowest.
        time.sleep(POLL_SECONDS * (3 if traces else 1))


def _ask(url: str) -> list[Trace]:
    try:
        with urllib.request.urlopen(url, timeout=HTTP_SECONDS) as response:  # noqa: S310 - http only, see _base
            traces: list[Trace] = json.load(response)["traces"]
            return traces
    except (OSError, ValueError, KeyError) as error:
        where = url.partition("/api")[0]
        fail(f"no trace receiver answers at {where} ({error}); `make up` starts one", UNREACHABLE)


def _base(receiver: str) -> str:
    url = receiver if "://" in receiver else f"http://{receiver}"
    if not url.startswith(("http://", "https://")):
        fail(f"{receiver} is no HTTP address", USAGE)
    return url.rstrip("/")


def _of_the_stack() -> str:
    try:
        return str(json.loads(STACK.read_text(encoding="utf-8"))["ui"])
    except (OSError, ValueError, KeyError):
        return DEFAULT_RECEIVER
