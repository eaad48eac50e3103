"""`router policy`: how predictions become tiers, and how that changes."""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

import click
from rich.console import Console, RenderableType
from tinyroute.router.v1 import admin_pb2

from router.cli import render
from router.cli.connection import DEFAULT_ADMIN_TARGET, Connection, connection_options, policy_stub
from router.cli.errors import run
from router.cli.output import as_json, printable, wants_json
from router.cli.prompt_options import micros

JSON = click.option("--json", "asked_json", is_flag=True, help="JSON alone; the default when piped.")
Answer = Any
Ask = Callable[[Any, float], Awaitable[Answer]]


class WithCurve(click.Group):
    """Imports the curve when it is called: the other commands need none of what replaying a store takes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names."""
        return sorted([*super().list_commands(ctx), "curve"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; None for a name that is none."""
        if cmd_name != "curve":
            return super().get_command(ctx, cmd_name)
        command: click.Command = importlib.import_module("router.cli.curve").curve
        return command


@click.group(cls=WithCurve)
def policy() -> None:
    """How predictions become tiers. Asks the admin port, but for the curve."""


@policy.command()
@click.option("--revision", default="", help="Default: the one that serves.")
@JSON
@connection_options(DEFAULT_ADMIN_TARGET)
def show(revision: str, *, asked_json: bool, **connection: Any) -> None:
    """Shows a policy: its quality target, its threshold, each tier's place."""
    request = admin_pb2.GetPolicyRequest(revision=revision)
    _print(_call(connection, lambda stub, seconds: stub.GetPolicy(request, timeout=seconds)), asked_json=asked_json)


@policy.command()
@click.option("--quality-target", type=click.FloatRange(0, 1, min_open=True), help="Share of the best tier's quality.")
@click.option("--mean-cost", metavar="USD", help="What a request may cost on average, such as 0.002.")
@JSON
@connection_options(DEFAULT_ADMIN_TARGET)
def propose(quality_target: float | None, mean_cost: str | None, *, asked_json: bool, **connection: Any) -> None:
    """Fits a policy to recorded outcomes, for a quality target or a mean cost; it serves once it is promoted."""
    if (quality_target is None) == (mean_cost is None):
        raise click.UsageError("give one of --quality-target and --mean-cost")
    objective: Any = {"quality_target": quality_target, "mean_cost_micros": micros(mean_cost)}
    request = admin_pb2.ProposePolicyRequest(**{name: each for name, each in objective.items() if each is not None})
    _print(_call(connection, lambda stub, seconds: stub.ProposePolicy(request, timeout=seconds)), asked_json=asked_json)


@policy.command()
@click.argument("revision")
@JSON
@connection_options(DEFAULT_ADMIN_TARGET)
def promote(revision: str, *, asked_json: bool, **connection: Any) -> None:
    """Makes a proposal the policy that serves, at every router of the store."""
    request = admin_pb2.PromotePolicyRequest(revision=revision)
    _print(_call(connection, lambda stub, seconds: stub.PromotePolicy(request, timeout=seconds)), asked_json=asked_json)


@policy.command()
@JSON
@connection_options(DEFAULT_ADMIN_TARGET)
def rollback(*, asked_json: bool, **connection: Any) -> None:
    """Goes back to the policy that served before; at last to the configuration's own."""
    request = admin_pb2.RollbackPolicyRequest()
    _print(
        _call(connection, lambda stub, seconds: stub.RollbackPolicy(request, timeout=seconds)), asked_json=asked_json
    )


def _call(connection: dict[str, Any], ask: Ask) -> Answer:
    """The answer of one call to PolicyService."""

    async def call() -> Answer:
        async with Connection(**connection).channel() as channel:
            return await ask(policy_stub(channel), connection["timeout"])

    return run(call, connection["target"])


def _print(response: Answer, *, asked_json: bool) -> None:
    if wants_json(asked=asked_json):
        click.echo(as_json(response))
    else:
        Console(highlight=False).print(render.facts(_facts(response.policy)))


def _facts(made: admin_pb2.Policy) -> list[tuple[str, RenderableType]]:
    state = render.word(admin_pb2.PolicyState, made.state, "POLICY_STATE_")
    places = ", ".join(f"{render.tier_name(each.tier).plain} {each.ability:g}" for each in made.abilities)
    bound = f"{made.failure_bound:.3f} at most, at 95 % confidence" if made.HasField("failure_bound") else "not known"
    return [
        ("policy", f"{printable(made.revision)} ({state})"),
        ("quality target", f"{made.quality_target:g} of the best allowed tier"),
        ("one tier up below confidence", f"{made.confidence_threshold:g}"),
        ("places (0 small, 1 medium, 2 frontier)", places),
        ("fitted to", f"{made.outcome_count} outcomes"),
        ("share of requests below the target", bound),
    ]
