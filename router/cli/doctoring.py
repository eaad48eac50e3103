"""`router doctor`: whether everything is there that the router leans on, and what to do if not."""

import asyncio
import dataclasses
import json
import os
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from router.cli.checking import CONFIG, load
from router.cli.errors import UNREACHABLE, fail
from router.cli.output import wants_json
from router.composition.probes import Finding, probe_all
from router.settings import RouterSettings


@click.command()
@CONFIG
@click.option("--json", "asked_json", is_flag=True, help="JSON alone; the default when piped.")
def doctor(config: Path, *, asked_json: bool) -> None:
    """Probes analyzer, backends, store and collector with real calls, and says what to fix."""
    settings = load(config)
    as_json = wants_json(asked=asked_json)
    findings = asyncio.run(_look(settings, None if as_json else Console(highlight=False)))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    ill = sum(not finding.well for finding in findings)
    if ill:
        fail(f"{ill} of {len(findings)} need attention", UNREACHABLE)


async def _look(settings: RouterSettings, console: Console | None) -> list[Finding]:
    findings = []
    async for finding in probe_all(settings, os.environ):
        findings.append(finding)
        if console is not None:
            console.print(_line(finding))
    return findings


def _line(finding: Finding) -> Text:
    mark = ("✓ ", "green") if finding.well else ("✗ ", "bold red")
    advice = f"\n    → {finding.advice}" if finding.advice else ""
    return Text.assemble(mark, (finding.name, "bold"), f": {finding.seen}", (advice, "yellow"))
