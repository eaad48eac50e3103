"""`analyzer rollout`: a revision for every replica of a cluster, or for none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from analyzer.rollout.comparing import Limits
from analyzer.rollout.manifests import UnsuitableError
from analyzer.rollout.means import RolloutSettings
from analyzer.rollout.ports import ClusterError
from analyzer.rollout.progress import Phase, Progress, ProgressError
from analyzer.rollout.running import Rollout

EXIT_CODES = {Phase.PROMOTED: 0, Phase.ROLLED_BACK: 3, Phase.ABANDONED: 4}
_DEFAULT = Limits()
Command = TypeVar("Command", bound=Callable[..., Any])


class Shares(click.ParamType[tuple[float, ...]]):
    """Percentages, rising, such as 10,25,50."""

    name = "percentages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Returns them as shares."""
        try:
            shares = tuple(float(each) / 100 for each in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of percentages such as 10,25,50", param, ctx)
        if list(shares) != sorted(shares) or not all(0 < share < 1 for share in shares):
            self.fail("percentages must rise, and lie between 0 and 100", param, ctx)
        return shares


def limit_options(command: Command) -> Command:
    """Adds the options that say what a canary may differ by."""
    options = [
        click.option(
            "--min-agreement",
            default=_DEFAULT.agreement_min,
            type=click.FloatRange(0, 1),
            show_default=True,
            help="Share of prompts with the same tier from both revisions; 0: do not compare.",
        ),
        click.option("--max-error-margin", default=_DEFAULT.error_rate_margin, type=click.FloatRange(0, 1)),
        click.option("--max-p99-ms", default=_DEFAULT.p99_max_ms, type=click.FloatRange(min=0), show_default=True),
        click.option("--max-p99-ratio", default=_DEFAULT.p99_ratio_max, type=click.FloatRange(min=0)),
        click.option("--min-prompts", default=_DEFAULT.prompts_min, type=click.IntRange(min=0), show_default=True),
        click.option("--step-seconds", default=_DEFAULT.step_seconds, type=click.FloatRange(min=0), show_default=True),
        click.option("--patience-seconds", default=_DEFAULT.patience_seconds, type=click.FloatRange(min=0)),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--revision", help="The revision; its name is the tag of the image that delivers it.")
@click.option("--image", help="The whole image reference, where its tag is another one.")
@click.option("--steps", type=Shares(), default="10,25,50", show_default=True, help="The canaries' share of the calls.")
@click.option("--namespace", "-n", default="tinyroute", show_default=True)
@click.option("--deployment", default="analyzer", show_default=True)
@click.option("--context", help="Of the kubeconfig (default: its present one, or the pod this runs in).")
@click.option("--poll-seconds", default=5.0, type=click.FloatRange(min=0), show_default=True)
@click.option("--settle-seconds", default=900.0, type=click.FloatRange(min=0), show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be done, have the API server check it, change nothing.")
@click.option("--abort", is_flag=True, help="Take the unfinished rollout back.")
@limit_options
def rollout(
    revision: str | None, namespace: str, context: str | None, *, dry_run: bool, abort: bool, **more: Any
) -> None:
    """Rolls a model revision out on Kubernetes, canary by canary, and takes it back by itself when it does worse.

    Canaries serve live prompts and score them with the old revision too: both must agree, and the canaries must lose no
    more prompts and be no slower. Started again with the same revision, it goes on where it was.

    Exit codes: 0 promoted, 1 could not go on, 2 wrong usage, 3 rolled back, 4 somebody edited the Deployment meanwhile.
    """
    if not revision and not abort:
        raise click.UsageError("name the --revision")
    try:
        work = _rollout(namespace, context, _settings(revision or "", more))
        if dry_run:
            work.rehearse()
            return
        ended = work.abort() if abort else work.run()
    except (ClusterError, UnsuitableError, ProgressError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on from here, --abort takes it back", err=True)
        sys.exit(1)
    click.echo(_sentence(ended))
    sys.exit(EXIT_CODES[ended.phase])


def _settings(revision: str, more: dict[str, Any]) -> RolloutSettings:
    limits = Limits(
        agreement_min=more["min_agreement"],
        error_rate_margin=more["max_error_margin"],
        p99_max_ms=more["max_p99_ms"],
        p99_ratio_max=more["max_p99_ratio"],
        prompts_min=more["min_prompts"],
        step_seconds=more["step_seconds"],
        patience_seconds=more["patience_seconds"],
    )
    return RolloutSettings(
        revision=revision,
        deployment=more["deployment"],
        image=more["image"],
        shares=more["steps"],
        limits=limits,
        poll_seconds=more["poll_seconds"],
        settle_seconds=more["settle_seconds"],
    )


def _rollout(namespace: str, context: str | None, settings: RolloutSettings) -> Rollout:
    try:
        from analyzer.rollout.cluster import KubernetesCluster, api_client  # noqa: PLC0415 - an extra's
        from analyzer.rollout.forwarding import PortForwards  # noqa: PLC0415
        from analyzer.rollout.replicas import ReachedReplicas  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException("this needs the Kubernetes client: install tinyroute[kubernetes]") from error
    cluster = KubernetesCluster(api_client(context, os.environ), namespace)
    replicas = ReachedReplicas(PortForwards(api_client(context, os.environ), namespace))
    return Rollout(cluster, replicas, settings, lambda text: click.echo(text, err=True))


def _sentence(ended: Progress) -> str:
    if ended.phase is Phase.PROMOTED:
        return f"{ended.revision} serves everywhere; put its tag into your overlay, or the next apply goes back"
    if ended.phase is Phase.ROLLED_BACK:
        return f"{ended.previous_revision} serves everywhere: {ended.reason}"
    return f"left as it is: {ended.reason}"
