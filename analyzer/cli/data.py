"""`analyzer data`: training files from the public repositories that graded the prompts."""

from __future__ import annotations

from pathlib import Path

import click

from analyzer.cli.train import plain_errors

_checkout = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def data() -> None:
    """Makes training data from public sources."""


@data.command()
@click.option("--routellm", type=_checkout, help="Checkout of github.com/lm-sys/RouteLLM.")
@click.option("--llmrouter", type=_checkout, help="Checkout of github.com/ulab-uiuc/LLMRouter with its routing data.")
@click.option("--arena-hard", type=_checkout, help="Checkout of github.com/lmarena/arena-hard-auto.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the JSONL files."
)
def build(routellm: Path | None, llmrouter: Path | None, arena_hard: Path | None, output: Path) -> None:
    """Writes one JSONL file a source, for 'analyzer train --data'. Give the checkouts you have."""
    if not (routellm or llmrouter or arena_hard):
        raise click.UsageError("give at least one checkout: --routellm, --llmrouter or --arena-hard")
    with plain_errors():
        from analyzer.training import sources  # noqa: PLC0415 - quick help needs no training code

        output.mkdir(parents=True, exist_ok=True)
        wanted = (
            (routellm, sources.routellm_mmlu, "mmlu_two_models"),
            (routellm, sources.routellm_gsm8k, "gsm8k_two_models"),
            (llmrouter, sources.llmrouter_mixed, "mixed_nine_models"),
            (arena_hard, sources.arena_hard, "hard_user_prompts"),
        )
        for checkout, read, name in wanted:
            if checkout:
                path = output / f"{name}.jsonl"
                click.echo(f"{path}: {sources.write_rows(read(checkout), path)} prompts")
