"""`analyzer serve`: the service in the foreground.

Exit codes: 0 stopped as told, 1 can't start (one sentence on standard error says what to do), 2 wrong usage or
configuration, 143 or 130 ended at once by a second signal.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from analyzer.settings import ENVIRONMENT_PREFIX, AnalyzerConfig
from servicekit.config import ConfigError, effective_yaml, json_schema, load_config


@click.command()
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="YAML file (default: built-in settings)."
)
@click.option("--check", is_flag=True, help="Validate the configuration, print the effective one, and exit.")
@click.option("--schema", is_flag=True, help="Print the configuration's JSON Schema and exit.")
def serve(config: Path | None, *, check: bool, schema: bool) -> None:
    """Serves AnalyzerService until SIGTERM or Ctrl-C.

    Settings come from the file, and from the environment over it, levels joined by two underscores:

    \b
    TINYROUTE_ANALYZER__LISTEN__PORT=50052    the public port
    TINYROUTE_ANALYZER__MODEL__THREADS=1      threads of a forward pass
    TINYROUTE_MODELS=DIR                      the model store
    OTEL_EXPORTER_OTLP_ENDPOINT=URL           where traces go (OTLP over gRPC)
    """  # noqa: D301 - click reads \b as an escape
    if schema:
        click.echo(json.dumps(json_schema(AnalyzerConfig), indent=2))
        return
    try:
        settings = _read(config)
    except ConfigError as error:
        click.echo(f"Error: the configuration is not valid:\n{error}", err=True)
        sys.exit(2)
    if check:
        click.echo(effective_yaml(settings), nl=False)
        return
    _run(settings, config)


def _run(settings: AnalyzerConfig, path: Path | None) -> None:
    from analyzer.configuration import SERVICE_NAME  # noqa: PLC0415
    from analyzer.loading import LOAD_ERRORS  # noqa: PLC0415 - the other options need none of these
    from analyzer.reconfiguring import Reread  # noqa: PLC0415
    from analyzer.server import Surroundings  # noqa: PLC0415
    from analyzer.server import serve as run_service  # noqa: PLC0415
    from servicekit.logs import set_up_logs  # noqa: PLC0415
    from servicekit.serving import BindError, Stopped  # noqa: PLC0415

    reread = Reread(path, lambda: _read(path)) if path is not None else None
    set_up_logs(SERVICE_NAME, level=settings.log.level, with_texts=settings.log.exception_texts)
    try:
        asyncio.run(run_service(settings, Surroundings(os.environ, _announce, reread)))
    except Stopped:
        return
    except (BindError, *LOAD_ERRORS) as error:
        raise click.ClickException(str(error)) from error


def _read(path: Path | None) -> AnalyzerConfig:
    return load_config(AnalyzerConfig, path, os.environ, ENVIRONMENT_PREFIX)


def _announce(ready: Any) -> None:
    click.echo(f"analyzer ready on port {ready.port}: {ready.revision} (admin {ready.admin_port})")
    sys.stdout.flush()
