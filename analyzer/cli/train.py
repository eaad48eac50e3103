"""`analyzer train`: a judge for a base revision, from graded prompts, in minutes."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from analyzer.adapters import runtime
from analyzer.adapters.modelstore import ModelStore, ModelStoreError, default_root

data_option = click.option(
    "--data",
    "data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Graded prompts (JSONL); repeat for more. 'analyzer data build' makes them from public repositories.",
)
store_option = click.option(
    "--store",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Store folder (default: TINYROUTE_MODELS).",
)
threads_option = click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
small_option = click.option("--small", multiple=True, help="A model of 'scores' that counts as SMALL; repeatable.")
frontier_option = click.option("--frontier", multiple=True, help="A model of 'scores' that counts as FRONTIER.")


@click.command()
@click.option("--base", required=True, help="Revision whose weights the judge reads prompts with.")
@data_option
@click.option("--name", help="Name of the new revision (default: BASE-judge-N).")
@click.option(
    "--layers", type=click.IntRange(1), help="Read the hidden state after so many layers (default: all kept)."
)
@click.option("--everyday/--no-everyday", default=True, show_default=True, help="Learn from the shipped prompts too.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Where features are kept.")
@click.option("--head", "head_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the head file too.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one HTML page.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures.")
@small_option
@frontier_option
@threads_option
@store_option
def train(root: Path | None, **options: Any) -> None:
    """Fits a head to graded prompts and stores BASE with it as a new revision.

    A fifth of the prompts, chosen by a hash of the question, is kept back to measure the result. A training that was
    stopped goes on where it was. Follow with 'analyzer model activate NAME'.
    """
    with plain_errors():
        runtime.prepare()
        from analyzer.training.report import render_report  # noqa: PLC0415 - needs the runtime prepared
        from analyzer.training.train import train as run  # noqa: PLC0415

        result = run(ModelStore(root or default_root(os.environ)), _request(options), bar)
        if options["head_path"]:
            options["head_path"].write_text(result.head.model_dump_json(indent=1) + "\n")
        if options["json_path"]:
            options["json_path"].write_text(json.dumps(result.evaluation, indent=1) + "\n")
        if options["html"]:
            title = f"{result.revision.name} on its validation part"
            options["html"].write_text(render_report(result.evaluation, title=title, subtitle=result.head.how_trained))
    print_summary(result.evaluation)
    click.echo(f"stored {result.revision.name}; to serve it: analyzer model activate {result.revision.name}")


def _request(options: dict[str, Any]) -> Any:
    from analyzer.training.train import EVERYDAY_PROMPTS, TrainingRequest  # noqa: PLC0415 - after the runtime

    data = [*options["data"], *([EVERYDAY_PROMPTS] if options["everyday"] and EVERYDAY_PROMPTS.is_file() else [])]
    return TrainingRequest(
        base=options["base"],
        data=data,
        cache=options["cache"] or _cache_folder(),
        name=options["name"],
        layers=options["layers"],
        threads=options["threads"],
        pools=pools_of(options["small"], options["frontier"]),
        how=how_trained(data),
    )


def how_trained(data: list[Path]) -> str:
    """Returns a sentence for the head file: the command's shape, without anybody's paths."""
    names = " ".join(f"--data {shlex.quote(path.name)}" for path in data)
    return f"analyzer train --base REVISION {names}"


def pools_of(small: tuple[str, ...], frontier: tuple[str, ...]) -> Any:
    """Returns the models that define the abilities: those named on the command line, or the usual ones."""
    from analyzer.training.dataset import AbilityPools  # noqa: PLC0415 - quick help needs no training code

    usual = AbilityPools()
    return AbilityPools(small=small or usual.small, frontier=frontier or usual.frontier)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tinyroute" / "features"


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function that hears work done and in all, and draws a progress bar on standard error."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns mistakes a person can put right into one sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name in {"sklearn", "matplotlib", "jinja2"}:
            raise click.ClickException("training needs the extra 'train': pip install 'tinyroute[train]'") from error
        raise
    except (ModelStoreError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def print_summary(evaluation: dict[str, Any]) -> None:
    """Prints the main figures: a table on a terminal and in a pipe alike."""
    table = Table("prompts", "n", "APGR (95 %)", "bag of words", "length", "ECE small/medium/frontier", box=None)
    for name, source in evaluation["sources"].items():
        rankings = source["rankings"]
        table.add_row(
            name,
            str(source["prompts"]),
            *(_figure(rankings.get(router)) for router in ("judge: expected gain", "bag of words", "length")),
            " / ".join(f"{row['ECE']['value']:.3f}" for row in source["calibration"].values()),
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for name, row in (evaluation["levels"].get("spearman") or {}).items():
        console.print(f"levels: Spearman of {name} {_interval(row)}")
    if evaluation["levels"]:
        console.print(f"levels: tiers at the default policy {evaluation['levels']['tiers']}")
    if evaluation["tasks"]:
        console.print(f"tasks: macro F1 {evaluation['tasks']['macro F1']:.3f} on {evaluation['tasks']['prompts']}")
    for name in ("edits", "injections"):
        if evaluation[name]:
            console.print(f"{name}: {evaluation[name]}")


def _figure(row: dict[str, Any] | None) -> str:
    return _interval(row["APGR"]) if row else "-"


def _interval(row: dict[str, float]) -> str:
    return f"{row['value']:.3f} ({row['low']:.2f} to {row['high']:.2f})"
