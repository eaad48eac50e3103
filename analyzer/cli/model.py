"""`analyzer model`: the model store on the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from analyzer.adapters import runtime
from analyzer.adapters.modelstore import ModelStore, ModelStoreError, Revision, default_root
from analyzer.files import sha256_of

Update = Callable[[int, int], None]


@dataclass(frozen=True)
class ModelTools:
    """What the commands work with; tests put their own in the click context."""

    measure: Callable[[Path], float] | None = None
    cache: Path | None = None


pass_tools = click.make_pass_decorator(ModelTools, ensure=True)
store_option = click.option(
    "--store",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Store folder (default: TINYROUTE_MODELS).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
layers_option = click.option(
    "--layers", type=click.IntRange(min=1), help="Keep the first so many layers (default: all)."
)


@click.group()
def model() -> None:
    """Fetches, imports and switches the models the analyzer serves.

    Exit codes: 0 done, 1 failed (one sentence on standard error says what to do), 2 wrong usage.
    """


@model.command()
@click.argument("name", type=click.Choice(["default"]), default="default")
@store_option
@json_option
@pass_tools
def pull(tools: ModelTools, name: str, root: Path | None, *, as_json: bool) -> None:
    """Fetches the default model (SmolLM2-135M-Instruct), checks it and makes it ready to serve."""
    with _plain_errors():
        runtime.prepare()
        from analyzer.importing import pull as pulling  # noqa: PLC0415 - needs the runtime prepared
        from analyzer.importing.gguf_file import GgufCheckpoint  # noqa: PLC0415
        from analyzer.importing.heads import attach, shipped_head  # noqa: PLC0415

        store = _store(root)
        cache = tools.cache or pulling.cache_folder(os.environ)
        with _bar("fetching", in_bytes=True) as update:
            file = pulling.pull(pulling.MODELS[name], cache, progress=update)
        checkpoint = GgufCheckpoint(file, base=pulling.MODELS[name].base)
        base = _stored(store, checkpoint, name=None, layers=None)
        head = shipped_head(base.manifest)
        ready = attach(store, base, head) if head else base
        if store.active_name() is None:
            _activate(tools, store, ready.name, force=False)
        _report(store, ready, as_json=as_json)


@model.command(name="import")
@click.argument("source")
@click.option("--name", help="Name of the revision (default: made from the model's name, layers and type).")
@layers_option
@click.option("--head", type=click.Path(path_type=Path), help="Attach this trained head to the imported weights.")
@store_option
@json_option
@pass_tools
def import_(
    tools: ModelTools,
    source: str,
    name: str | None,
    layers: int | None,
    *,
    head: Path | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Converts SOURCE, a GGUF file, a Hugging Face folder or a hub name such as owner/model, to int8."""
    with _plain_errors():
        runtime.prepare()
        from analyzer.importing.heads import attach, load_head, shipped_head  # noqa: PLC0415 - needs the runtime prepared

        store = _store(root)
        revision = _stored(store, _open_source(tools, source), name=name, layers=layers)
        chosen = load_head(head) if head else shipped_head(revision.manifest)
        _report(store, attach(store, revision, chosen) if chosen else revision, as_json=as_json)


@model.command(name="list")
@store_option
@json_option
def list_(root: Path | None, *, as_json: bool) -> None:
    """Lists the revisions in the store, the active one marked."""
    with _plain_errors():
        store = _store(root)
        active = store.active_name()
        rows = [_facts(store.open(name), active) for name in store.names()]
    if as_json:
        click.echo(json.dumps({"root": str(store.root), "active": active, "revisions": rows}, indent=2))
    elif rows:
        _table(rows)
    else:
        click.echo(f"no models in {store.root}; run 'analyzer model pull default'")


@model.command()
@click.argument("names", nargs=-1)
@store_option
@json_option
def verify(names: tuple[str, ...], root: Path | None, *, as_json: bool) -> None:
    """Checks every file of NAMES (all revisions when none is given) against its manifest."""
    store = _store(root)
    outcomes: dict[str, str] = {}
    for name in names or store.names():
        try:
            store.verify(name)
            outcomes[name] = "ok"
        except ModelStoreError as error:
            outcomes[name] = str(error)
    click.echo(json.dumps(outcomes, indent=2) if as_json else "\n".join(f"{k}: {v}" for k, v in outcomes.items()))
    if any(outcome != "ok" for outcome in outcomes.values()):
        sys.exit(1)


@model.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Activate even when it is too slow for this machine.")
@store_option
@json_option
@pass_tools
def activate(tools: ModelTools, name: str, root: Path | None, *, force: bool, as_json: bool) -> None:
    """Makes NAME the active revision after checking its files and its speed."""
    with _plain_errors():
        store = _store(root)
        p99_ms = _activate(tools, store, name, force=force)
    if as_json:
        click.echo(json.dumps({"active": name, "p99_ms": p99_ms}))
    else:
        click.echo(f"active: {name}" + (f" (64 tokens in {p99_ms:.0f} ms p99)" if p99_ms is not None else ""))


@model.command()
@store_option
@json_option
def rollback(root: Path | None, *, as_json: bool) -> None:
    """Makes the revision active that was active before."""
    with _plain_errors():
        revision = _store(root).rollback()
    click.echo(json.dumps({"active": revision.name}) if as_json else f"active: {revision.name}")


def _store(root: Path | None) -> ModelStore:
    return ModelStore(root or default_root(os.environ))


def _activate(tools: ModelTools, store: ModelStore, name: str, *, force: bool) -> float | None:
    runtime.prepare(runtime.RuntimeSettings(instruction_set=store.open(name).manifest.instruction_set))
    from analyzer.importing.activation import activate as activate_checked  # noqa: PLC0415 - as above
    from analyzer.importing.latency import measure_p99_ms  # noqa: PLC0415 - needs the runtime prepared

    return activate_checked(store, name, measure=tools.measure or measure_p99_ms, force=force)[1]


def _open_source(tools: ModelTools, source: str) -> Any:
    from analyzer.importing import pull as pulling  # noqa: PLC0415 - needs the runtime prepared
    from analyzer.importing.gguf_file import GgufCheckpoint  # noqa: PLC0415
    from analyzer.importing.hub import is_hub_name, open_from_hub  # noqa: PLC0415
    from analyzer.importing.huggingface import HuggingFaceCheckpoint  # noqa: PLC0415

    path = Path(source)
    if path.is_dir():
        return HuggingFaceCheckpoint(path)
    if path.is_file():
        pinned = {wheel.member_sha256: wheel.base for wheel in pulling.MODELS.values()}
        return GgufCheckpoint(path, base=pinned.get(sha256_of(path)))
    if is_hub_name(source):
        return open_from_hub(source, tools.cache or pulling.cache_folder(os.environ))
    raise click.UsageError(f"{source} is neither a file, nor a folder, nor a hub name such as owner/model")


def _stored(store: ModelStore, checkpoint: Any, *, name: str | None, layers: int | None) -> Revision:
    from analyzer.importing.revisions import base_revision_name, store_base  # noqa: PLC0415 - needs the runtime prepared

    chosen = name or base_revision_name(checkpoint, layers, "int8")
    if chosen in store.names():
        return store.verify(chosen)
    with _bar("converting", in_bytes=False) as update:
        return store_base(store, checkpoint, name=chosen, layers=layers, progress=update)


def _report(store: ModelStore, revision: Revision, *, as_json: bool) -> None:
    facts = _facts(revision, store.active_name())
    steps = _next_steps(revision, active=bool(facts["active"]))
    if as_json:
        click.echo(json.dumps({**facts, "next": steps}, indent=2))
        return
    click.echo(f"stored {revision.name} in {revision.path}")
    if revision.manifest.judge == "untrained":
        click.echo("no head fits these weights yet: they serve with the label judge until one is trained")
    for step in steps:
        click.echo(f"next: {step}")


def _next_steps(revision: Revision, *, active: bool) -> list[str]:
    steps = []
    if revision.manifest.judge == "untrained":
        steps.append(f"analyzer train --base {revision.name} --data FILE")
    if not active:
        steps.append(f"analyzer model activate {revision.name}")
    return steps


def _facts(revision: Revision, active: str | None) -> dict[str, Any]:
    manifest = revision.manifest
    return {
        "revision": revision.name,
        "active": revision.name == active,
        "base": manifest.base.name,
        "licence": manifest.base.licence,
        "layers": f"{manifest.architecture.layers_kept} of {manifest.architecture.layers_total}",
        "quantization": manifest.quantization,
        "judge": manifest.judge,
        "bytes": sum(record.size for record in manifest.files.values()),
    }


def _table(rows: list[dict[str, Any]]) -> None:
    columns = ("", "revision", "layers", "judge", "MB", "licence")
    table = Table(*(Column(name, no_wrap=True) for name in columns), box=None, pad_edge=False)
    for row in rows:
        mark = "*" if row["active"] else ""
        table.add_row(mark, row["revision"], row["layers"], row["judge"], f"{row['bytes'] / 1e6:.0f}", row["licence"])
    Console().print(table)


@contextmanager
def _bar(what: str, *, in_bytes: bool) -> Iterator[Update]:
    columns = [
        TextColumn(what),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def _plain_errors() -> Iterator[None]:
    from analyzer.importing.checkpoint import ImportFailedError  # noqa: PLC0415 - numpy is slow to import

    try:
        yield
    except (ModelStoreError, ImportFailedError, OSError) as error:
        raise click.ClickException(str(error)) from error
