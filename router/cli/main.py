"""The command group."""

import importlib

import click

from router.cli.errors import EXIT_CODES

COMMANDS = {
    "serve": "serving:serve",
    "ask": "asking:ask",
    "decide": "asking:decide",
    "batch": "batching:batch",
    "outcome": "reporting:outcome",
    "usage": "reporting:usage",
    "policy": "policies:policy",
    "trace": "tracing:trace",
    "check": "checking:check",
    "doctor": "doctoring:doctor",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is called: `router ask` need not load a server."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """The command; None for a name that is none."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"router.cli.{module}"), name)
        return command


@click.command(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinyroute")
def router() -> None:
    """Sends each prompt to the cheapest model tier that will answer it well."""
