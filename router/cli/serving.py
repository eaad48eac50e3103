"""`router serve`: the service in the foreground."""

import asyncio
import logging
import os
import sys
from pathlib import Path

import click

from router.cli.checking import CONFIG, load
from router.cli.errors import FAILED, fail
from router.server import SERVICE_NAME, Ready
from router.server import serve as run_service
from servicekit.logs import set_up_logs
from servicekit.secret import SecretError
from servicekit.serving import BindError, Stopped


@click.command()
@CONFIG
def serve(config: Path) -> None:
    """Serves until SIGTERM or Ctrl-C; a second signal ends it at once. SIGHUP reads the configuration again.

    Settings come from the file, and from the environment over it: TINYROUTE_ROUTER__LISTEN__PORT=50055 is listen.port.
    OTEL_EXPORTER_OTLP_ENDPOINT says where traces and metrics go.
    """
    settings = load(config)
    set_up_logs(SERVICE_NAME, level=settings.telemetry.log_level)
    # One line for every call to a backend would be the loudest thing in the log; spans and metrics tell more.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        asyncio.run(run_service(config, settings, os.environ, _announce))
    except Stopped:
        return
    except (BindError, SecretError) as error:
        fail(str(error), FAILED)


def _announce(ready: Ready) -> None:
    click.echo(f"router ready on port {ready.port} (admin {ready.admin_port}, metrics {ready.metrics_port})")
    sys.stdout.flush()
