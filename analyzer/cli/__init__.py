"""The `analyzer` command line. Commands are imported when they are used: `--help` needs no model tools."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A group that imports a command's module when it is asked for."""

    modules: ClassVar[dict[str, tuple[str, str, str]]] = {
        "serve": ("analyzer.cli.serve", "serve", "Serve the active model over gRPC."),
        "model": ("analyzer.cli.model", "model", "Fetch, import, verify and switch models."),
        "train": ("analyzer.cli.train", "train", "Fit the judge on graded prompts."),
        "eval": ("analyzer.cli.evaluate", "evaluate", "Report how well a revision predicts."),
        "data": ("analyzer.cli.data", "data", "Make training data from public sources."),
        "rollout": ("analyzer.cli.rollout", "rollout", "Roll a revision out on Kubernetes, canary by canary."),
        "bench": ("analyzer.cli.bench", "bench", "Measure latency and throughput on this machine."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the commands in the order a person meets them."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports a command."""
        if cmd_name not in self.modules:
            return None
        module, name, _ = self.modules[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - our own table
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Lists the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, _, help_text) in self.modules.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinyroute", prog_name="analyzer")
def analyzer() -> None:
    """Says how hard a prompt is, with a tiny language model on the CPU.

    \b
    First steps:
      analyzer model pull default      fetch and convert the default model (90 MB, once)
      analyzer serve                   answer on 127.0.0.1:50051 (health, reflection, metrics on 9465)
      analyzer bench --rate 30         load the running service

    \b
    Exit codes: 0 done; 1 failed, one sentence says what to do; 2 wrong usage or configuration.
    """  # noqa: D301 - click reads \b as an escape
