"""`router check`: whether a configuration is good, and what it comes to."""

import json
import os
from pathlib import Path

import click

from router.cli.errors import USAGE, fail
from router.composition.reviewing import serving_revision
from router.settings import ENVIRONMENT_PREFIX, RouterSettings
from servicekit.config import ConfigError, effective, effective_yaml, json_schema, load_config
from servicekit.errors import Unavailable
from servicekit.secret import SecretError, SecretRef

CONFIG = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TINYROUTE_ROUTER_CONFIG",
    default=Path("router.yaml"),
    show_default=True,
    help="The router's configuration.",
)


def load(config: Path) -> RouterSettings:
    """The configuration under the environment's overrides; ends the program, naming every mistake's line and field."""
    try:
        return load_config(RouterSettings, config, os.environ, ENVIRONMENT_PREFIX)
    except ConfigError as error:
        fail(f"the configuration can't be used\n{error}", USAGE)


@click.command()
@CONFIG
@click.option("--json", "asked_json", is_flag=True, help="The effective configuration as JSON.")
@click.option("--schema", is_flag=True, help="Prints the JSON Schema of the configuration instead, for editors.")
def check(config: Path, *, asked_json: bool, schema: bool) -> None:
    """Validates a configuration and prints the effective one, secrets masked."""
    if schema:
        click.echo(json.dumps(json_schema(RouterSettings), indent=2))
        return
    settings = load(config)
    if asked_json:
        click.echo(json.dumps(effective(settings), indent=2))
    else:
        click.echo(effective_yaml(settings), nl=False)
    problems = unreadable_secrets(settings)
    if problems:
        fail("\n".join(problems), USAGE)
    click.echo(f"{config}: good; {_serving(settings)}", err=True)


def _serving(settings: RouterSettings) -> str:
    """Says which policy serves: a promoted one wins until it is rolled back."""
    try:
        promoted = serving_revision(settings)
    except Unavailable as error:
        return f"which policy serves is not known: {error.message}"
    if promoted:
        return (
            f"the policy that serves is {promoted}, promoted over the configuration's own, {settings.policy.revision}"
        )
    return f"the policy that serves is the configuration's own, {settings.policy.revision}"


def unreadable_secrets(settings: RouterSettings) -> list[str]:
    """A line for each secret that is named and can't be read."""
    references: list[tuple[str, SecretRef | None]] = [("cloud_analysis", settings.cloud_analysis.api_key)]
    for name, tier in settings.tiers.items():
        references += [(f"tiers.{name}: {backend.name}", backend.api_key) for backend in tier.backends]
    problems = []
    for place, reference in references:
        try:
            if reference is not None:
                reference.read(os.environ)
        except SecretError as error:
            problems.append(f"{place}: api_key: {error}")
    return problems
