"""`analyzer eval`: how well a revision predicts, beside simple rows, with intervals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from analyzer.adapters import runtime
from analyzer.adapters.modelstore import ModelStore, default_root
from analyzer.cli.train import (
    bar,
    data_option,
    frontier_option,
    plain_errors,
    pools_of,
    print_summary,
    small_option,
    store_option,
    threads_option,
)


@click.command()
@click.option("--revision", help="Revision to measure (default: the active one).")
@data_option
@click.option(
    "--all", "everything", is_flag=True, help="Use every prompt: right for files this revision was not trained on."
)
@click.option(
    "--edits", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Prompts to apply trivial edits to."
)
@click.option(
    "--injections",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Pairs of a clean and an attacked prompt (JSONL: clean, attacked).",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one HTML page.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures.")
@small_option
@frontier_option
@threads_option
@store_option
def evaluate(root: Path | None, **options: Any) -> None:
    """Reports how well a revision predicts which prompts need a stronger model.

    Reads graded prompts ('weak' and 'strong', or 'scores'), prompts with a 'level' or a 'task', or a file of one's own
    outcomes in the same form. Without --all only the part that training keeps back is used.
    """
    if not options["data"]:
        raise click.UsageError("nothing to measure on; give --data FILE")
    with plain_errors():
        runtime.prepare()
        from analyzer.training.report import render_report  # noqa: PLC0415 - needs the runtime prepared

        revision = ModelStore(root or default_root(os.environ)).verify(options["revision"])
        figures = _assess(revision, options)
        if options["json_path"]:
            options["json_path"].write_text(json.dumps(figures, indent=1) + "\n")
        if options["html"]:
            subtitle = f"measured on {', '.join(path.name for path in options['data'])}"
            options["html"].write_text(render_report(figures, title=revision.name, subtitle=subtitle))
    print_summary(figures)


def _assess(revision: Any, options: dict[str, Any]) -> dict[str, Any]:
    from analyzer.training.assess import assess  # noqa: PLC0415 - needs the runtime prepared
    from analyzer.training.dataset import read_conversations, read_prompts  # noqa: PLC0415
    from analyzer.training.judging_revision import RevisionJudge  # noqa: PLC0415

    pairs = options["injections"]
    with bar("judging") as update:
        evaluation = assess(
            RevisionJudge(revision, threads=options["threads"]),
            read_prompts(options["data"], pools_of(options["small"], options["frontier"])),
            everything=options["everything"],
            edits=read_conversations(options["edits"], "prompt") if options["edits"] else (),
            injections=(read_conversations(pairs, "clean"), read_conversations(pairs, "attacked"))
            if pairs
            else ((), ()),
            progress=update,
        )
    return evaluation.as_json()
