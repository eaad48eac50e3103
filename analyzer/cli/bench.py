"""`analyzer bench`: latency, throughput and capacity on this machine."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from analyzer.bench.load import Load, put
from analyzer.bench.prompts import PromptSource, read_prompts
from analyzer.bench.race import ContenderFailedError, Shape
from analyzer.bench.summary import Summary, summarise

DEFAULT_TARGET = "127.0.0.1:50051"


class LoadByDefault(click.Group):
    """A group whose options alone mean its `load` command: `analyzer bench --rate 30`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `load` before arguments that name no command."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["load", *args]
        return super().parse_args(ctx, args)


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them: 6,11,22."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers; a usage error where one is none or not positive."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 16,64,128", param, ctx)
        if min(numbers) < 1:
            self.fail("numbers must be 1 or more", param, ctx)
        return numbers


NUMBERS = Numbers()
json_option = click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON.")
png_option = click.option("--png", "png_path", type=click.Path(path_type=Path, dir_okay=False), help="Write a plot.")
rounds_option = click.option("--rounds", type=click.IntRange(1), default=20, show_default=True)


@click.group(cls=LoadByDefault)
def bench() -> None:
    """Measures the analyzer on this machine; without a command: `load`.

    \b
    analyzer bench --rate 30 --prompts prompts.txt   a running service under Poisson arrivals
    analyzer bench depth --shape tinyllama           which depth holds 100 ms on how many threads
    analyzer bench engines                           the tuned engine beside the others
    """  # noqa: D301 - click reads the backspace: lines below it are not filled


@bench.command()
@click.option("--target", default=DEFAULT_TARGET, show_default=True, help="A running analyzer, or Envoy before some.")
@click.option("--in-process", is_flag=True, help="Load an engine of this process instead: no gRPC.")
@click.option("--revision", help="In process: a stored revision (default: the active one).")
@click.option("--threads", type=click.IntRange(1), help="In process: threads of a pass (default: the cores).")
@click.option("--prompts", type=click.Path(path_type=Path, exists=True), help="One prompt a line, plain or JSON.")
@click.option("--words", type=NUMBERS, default="20,100", show_default=True, help="Shortest, longest made prompt.")
@click.option("--repeats", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share repeated.")
@click.option("--rate", type=click.FloatRange(0.1), help="Open loop: calls a second, Poisson arrivals.")
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Closed loop: calls open at once."
)
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True)
@click.option("--deadline-ms", type=click.FloatRange(1), default=100.0, show_default=True)
@click.option("--core-hour-price", type=click.FloatRange(0), help="US dollars a core-hour, for dollars per 100,000.")
@click.option("--cores", type=click.IntRange(1), default=1, show_default=True, help="Cores the target has.")
@json_option
@png_option
def load(target: str, prompts: Path | None, words: tuple[int, ...], repeats: float, **options: Any) -> None:
    """Loads a running analyzer and prints latency, goodput, refusals and capacity."""
    fixed = read_prompts(prompts) if prompts else ()
    source = PromptSource(fixed, words=(min(words), max(words)), repeats=repeats)
    wanted = Load(options["rate"], options["workers"], options["seconds"], options["deadline_ms"])
    if options["in_process"]:
        target = "in process"
        summary = asyncio.run(_load_in_process(options["revision"], options["threads"], source, wanted))
    else:
        summary = asyncio.run(_load_service(target, source, wanted))
    _print_summary(summary, cores=options["cores"], core_hour_price=options["core_hour_price"])
    _leave(options, "load", summary, lambda report, path: report.plot_loads(path, [("load", summary)], target))
    if not summary.outcomes.get("answered"):
        raise click.ClickException(f"{target} answered nothing: is `analyzer serve` running there?")


async def _load_in_process(revision: str | None, threads: int | None, source: PromptSource, wanted: Load) -> Summary:
    from analyzer.adapters.modelstore import ModelStore, default_root  # noqa: PLC0415 - loads the engine
    from analyzer.bench.inprocess import InProcessTarget, in_process  # noqa: PLC0415

    async with in_process(ModelStore(default_root(os.environ)), revision, threads) as analyzer:
        samples = await put(wanted, InProcessTarget(analyzer, source, wanted.deadline_ms / 1e3))
    return summarise(samples, wanted.seconds, wanted.deadline_ms)


async def _load_service(target: str, source: PromptSource, wanted: Load) -> Summary:
    from analyzer.bench.service import load_service  # noqa: PLC0415 - the other commands need no gRPC

    return await load_service(target, source, wanted)


def _print_summary(summary: Summary, *, cores: int, core_hour_price: float | None) -> None:
    table = Table("", "", show_header=False, box=None)
    table.add_row("calls", f"{summary.sent} in {summary.seconds:g} s: {_counts(summary.outcomes)}")
    table.add_row("latency, ms", _milliseconds(summary.latency_ms))
    if summary.refusal_ms:
        table.add_row("refusals, ms", _milliseconds(summary.refusal_ms))
    table.add_row("throughput", f"{summary.throughput:.1f} answers/s")
    table.add_row("goodput", f"{summary.goodput:.1f} answers/s within {summary.deadline_ms:g} ms")
    per_core = summary.goodput / cores
    table.add_row("capacity", f"{per_core:.1f} analyses/s a core at this load, {cores} core(s)")
    if core_hour_price and per_core:
        dollars = core_hour_price / 3600 / per_core * 100_000
        table.add_row("price", f"${dollars:.3f} per 100,000 analyses at ${core_hour_price:g} a core-hour")
    table.add_row("batches", f"{summary.mean_batch_size:.1f} prompts, {summary.mean_tokens:.0f} tokens a prompt")
    table.add_row("sources", _counts(summary.sources))
    _console().print(table)


def _console() -> Console:
    """Standard output; wide where it is a file, so that no cell is folded."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _milliseconds(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in found.items()) or "none"


@bench.command()
@click.option("--revision", help="A stored revision to cut (default: the active one).")
@click.option("--shape", type=click.Choice(["tinyllama"]), help="A published shape with random weights instead.")
@click.option("--layers", type=NUMBERS, help="Depths, such as 6,11,22 (default: a third, a half and all).")
@click.option("--tokens", type=NUMBERS, default="16,64,128", show_default=True)
@click.option("--threads", type=NUMBERS, default="1,2", show_default=True)
@rounds_option
@json_option
@png_option
def depth(revision: str | None, shape: str | None, layers: tuple[int, ...] | None, **options: Any) -> None:
    """Prints latency by tokens, layers and threads, and which prompts each depth answers within 100 ms."""
    from analyzer.bench import engines  # noqa: PLC0415 - loads the model tools

    with tempfile.TemporaryDirectory(prefix="analyzer-bench-") as scratch, _progress("measuring") as progress:
        model, name, total = _model(revision, shape, Path(scratch))
        depths = engines.Depths(
            layers or (max(1, total // 3), max(1, total // 2), total),
            options["threads"],
            options["tokens"],
            options["rounds"],
        )
        rows = engines.race_depths(model, depths, Path(scratch), progress)
    table = Table("layers", "threads", *(f"{tokens} tokens" for tokens in options["tokens"]), "holds 100 ms up to")
    for row in rows:
        cells = (f"{row.median_ms[tokens]:.1f} ({row.worst_ms[tokens]:.0f})" for tokens in options["tokens"])
        table.add_row(str(row.layers), str(row.threads), *cells, f"{row.holds()} tokens" if row.holds() else "none")
    table.title = f"{name}: median (worst) ms of one forward pass"
    _console().print(table)
    _leave(options, "depth", rows, lambda report, path: report.plot_depths(path, rows, name))


@bench.command()
@click.option("--revision", help="A stored revision (default: the active one).")
@click.option("--peers", is_flag=True, help="Other projects' engines too, on the default model's GGUF file.")
@click.option("--gguf", type=click.Path(path_type=Path, exists=True), help="With --peers: another model's GGUF file.")
@click.option("--layers", type=click.IntRange(1), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@rounds_option
@json_option
def engines(revision: str | None, gguf: Path | None, layers: int, threads: int, **options: Any) -> None:
    """Prints the tuned engine beside CTranslate2 as installed and, with --peers, beside those of other projects.

    The others need the dependency group bench-peers: `make peers` installs it and runs this.
    """
    from analyzer.bench import engines as racing  # noqa: PLC0415 - loads the model tools
    from analyzer.bench.shapes import write_depth  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="analyzer-bench-") as scratch, _progress("measuring") as progress:
        model, name, _ = _model(revision, None, Path(scratch))
        cut = write_depth(model.folder, Path(scratch) / "cut", layers, model.width)
        weights = (gguf or _default_gguf()) if options["peers"] else None
        contenders = racing.contenders_for(cut, weights, layers, threads)
        try:
            rows = racing.race_engines(contenders, model.vocabulary, options["rounds"], progress)
        except ContenderFailedError as error:
            raise click.ClickException(f"{error}. Other projects' engines: uv sync --group bench-peers") from error
    _console().print(_engine_table(rows, f"{name}, {layers} layers, {threads} threads: median ms (tuned / this)"))
    _leave(options, "engines", rows, None)


def _default_gguf() -> Path:
    from analyzer.importing import pull  # noqa: PLC0415 - loads the converter

    return pull.pull(pull.DEFAULT, pull.cache_folder(os.environ))


def _engine_table(rows: Sequence[Any], title: str) -> Table:
    shapes: Sequence[Shape] = list(rows[0].median_ms)
    table = Table("engine", *map(str, shapes), "cosine to float32", title=title)
    for row in rows:
        cells = (f"{row.median_ms[shape]:.1f} ({row.ratio[shape]:.2f})" for shape in shapes)
        table.add_row(row.name, *cells, "" if row.cosine is None else f"{row.cosine:.4f}")
    return table


def _model(revision: str | None, shape: str | None, scratch: Path) -> tuple[Any, str, int]:
    """The model to cut, its name, and how many layers it has."""
    from analyzer.adapters.modelstore import ModelStore, default_root  # noqa: PLC0415 - as the commands do
    from analyzer.bench import engines as racing  # noqa: PLC0415
    from analyzer.bench.shapes import TINYLLAMA, write_random_model  # noqa: PLC0415

    if shape:
        folder = write_random_model(scratch / "random", shape, TINYLLAMA)
        return racing.Model(folder, TINYLLAMA.width, TINYLLAMA.vocabulary), "TinyLlama-1.1B's shape", TINYLLAMA.layers
    store = ModelStore(default_root(os.environ))
    found = store.open(revision or store.active_name() or "")
    kept = found.manifest.architecture
    return racing.Model(found.path, kept.width, kept.vocabulary), found.name, kept.layers_kept


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _leave(options: dict[str, Any], kind: str, figures: Any, plot: Callable[[Any, Path], None] | None) -> None:
    from analyzer.bench import report  # noqa: PLC0415 - plots need an optional extra

    if options["json_path"]:
        report.write_json(options["json_path"], kind, figures)
    if plot and options["png_path"]:
        plot(report, options["png_path"])
