"""The options that make a prompt, shared by the commands that send one."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2

Command = TypeVar("Command", bound=Callable[..., Any])

TIERS = click.Choice(["small", "medium", "large"], case_sensitive=False)
CRITICALITIES = click.Choice(["critical", "standard", "sheddable"], case_sensitive=False)
SHARE = click.FloatRange(0, 1, min_open=True)

OPTIONS = (
    click.argument("prompt", required=False),
    click.option("--system", help="System message before the prompt."),
    click.option("--min-tier", type=TIERS, help="No weaker tier than this."),
    click.option("--max-tier", type=TIERS, help="No stronger tier than this."),
    click.option("--max-cost", metavar="USD", help="No tier whose estimated cost is above this, such as 0.002."),
    click.option("--quality-target", type=SHARE, help="Wanted success, as a share of the best allowed tier's."),
    click.option("--forbid-cloud-analysis", is_flag=True, help="Never send the prompt out for analysis."),
    click.option("--max-output-tokens", type=click.IntRange(1, 1_000_000), help="Longest answer."),
    click.option("--temperature", type=click.FloatRange(0, 2)),
    click.option("--top-p", type=SHARE),
    click.option("--seed", type=int),
    click.option("--stop", multiple=True, help="The answer ends before this text. Up to four times."),
    click.option("--json-object", is_flag=True, help="The answer is a JSON object."),
    click.option(
        "--json-schema", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A schema's file."
    ),
    click.option("--team", default="", help="What the cost is booked on."),
    click.option("--feature", default="", help="What the cost is booked on."),
    click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Free label for the ledger."),
    click.option("--criticality", type=CRITICALITIES, help="What happens under overload."),
    click.option("--session", "session_id", default="", help="Conversation: follow-ups never move down a tier."),
    click.option("--request-id", help="Name of the request; generated when not given."),
)


def prompt_options(command: Command) -> Command:
    """Adds the options to a command, which takes them as keywords and hands them to `fields`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a RouteRequest, StreamRouteRequest or DecideRequest that the options say."""
    made: dict[str, Any] = {
        "messages": messages(options["prompt"], options["system"]),
        "generation": generation(options),
        "constraints": constraints(options),
        "attribution": router_pb2.Attribution(
            team=options["team"], feature=options["feature"], labels=labels(options["labels"])
        ),
        "session_id": options["session_id"],
    }
    if options["criticality"]:
        made["criticality"] = f"CRITICALITY_{options['criticality'].upper()}"
    if options["request_id"]:
        made["request_id"] = options["request_id"]
    return made


def messages(prompt: str | None, system: str | None) -> list[prompt_pb2.Message]:
    """The conversation: the argument, or standard input when it is `-` or missing and something is piped in."""
    if prompt is None and sys.stdin.isatty():
        raise click.UsageError("give a prompt, or pipe one in")
    text = sys.stdin.read() if prompt in {None, "-"} else prompt
    made = [prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)]
    if system:
        made.insert(0, prompt_pb2.Message(role=prompt_pb2.ROLE_SYSTEM, content=system))
    return made


def generation(options: Mapping[str, Any]) -> router_pb2.GenerationSettings:
    """How the answer is generated."""
    made = router_pb2.GenerationSettings(
        max_output_tokens=options["max_output_tokens"],
        temperature=options["temperature"],
        top_p=options["top_p"],
        seed=options["seed"],
        stop=options["stop"],
    )
    if options["json_object"]:
        made.response_format.type = router_pb2.RESPONSE_FORMAT_TYPE_JSON_OBJECT
    if options["json_schema"]:
        made.response_format.type = router_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA
        made.response_format.json_schema = schema(options["json_schema"])
    return made


def schema(path: Path) -> str:
    """The text of a JSON Schema's file."""
    text = path.read_text(encoding="utf-8")
    try:
        json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{path} holds no JSON: {error}", param_hint="--json-schema") from error
    return text


def constraints(options: Mapping[str, Any]) -> router_pb2.Constraints:
    """What the choice has to obey."""
    return router_pb2.Constraints(
        min_tier=tier(options["min_tier"]),
        max_tier=tier(options["max_tier"]),
        max_cost_micros=micros(options["max_cost"]),
        quality_target=options["quality_target"],
        forbid_cloud_analysis=options["forbid_cloud_analysis"],
    )


def tier(name: str | None) -> Any:
    """The wire's number of a tier; None stays unset."""
    return router_pb2.Tier.Value(f"TIER_{name.upper()}") if name else None


def micros(dollars: str | None) -> int | None:
    """Millionths of a dollar, rounded down."""
    if dollars is None:
        return None
    try:
        amount = Decimal(dollars.removeprefix("$"))
    except InvalidOperation as error:
        raise click.BadParameter(f"{dollars!r} is no amount of dollars", param_hint="--max-cost") from error
    if not amount.is_finite() or amount < 0:
        raise click.BadParameter("must be 0 or more", param_hint="--max-cost")
    return int(amount * 1_000_000)


def labels(pairs: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE pairs as a map."""
    made = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
        made[key] = value
    return made
