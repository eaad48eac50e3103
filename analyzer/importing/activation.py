"""Activation with a look at the clock: a revision too slow for this machine is refused unless forced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from analyzer.adapters.modelstore import ModelStore, ModelStoreError, Revision
from analyzer.importing.output_layer import label_rows, with_output

LIMIT_MS = 100.0
TOKENS = 64
_LABELS = 4

Measure: TypeAlias = Callable[[Path], float]
"""Returns the p99 in milliseconds of a forward pass over 64 tokens of the model in a folder."""


class TooSlowError(ModelStoreError):
    """The revision can't answer in time on this machine; the message gives the figure and the ways out."""


def activate(store: ModelStore, name: str, *, measure: Measure, force: bool = False) -> tuple[Revision, float | None]:
    """Verifies, times and activates a revision; returns it with its p99 in ms (None when forced without timing)."""
    revision = store.verify(name)
    if force:
        return store.activate(name), None
    p99_ms = _measured(store, revision, measure)
    if p99_ms > LIMIT_MS:
        kept = revision.manifest.architecture.layers_kept
        raise TooSlowError(
            f"{TOKENS} tokens through {name} take {p99_ms:.0f} ms (p99) on this machine, "
            f"the limit is {LIMIT_MS:.0f} ms. Keep fewer than its {kept} layers (import with --layers), "
            "use more cores, or activate with --force."
        )
    return store.activate(name), p99_ms


def _measured(store: ModelStore, revision: Revision, measure: Measure) -> float:
    """Times the model as it serves: a whole vocabulary is never computed, the label judge asks for a few tokens."""
    if revision.manifest.output.kind != "vocabulary":
        return measure(revision.path)
    with store.staging() as folder:
        with_output(revision.path, folder, label_rows(revision.path, list(range(_LABELS))), kind="tokens")
        return measure(folder)
