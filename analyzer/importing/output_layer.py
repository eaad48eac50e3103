"""Gives a converted model another output layer, from its folder alone.

The body of a converted model does not depend on its output layer, and `model.bin` is a plain list of named arrays, so
replacing the last one is a copy of the file: no checkpoint, no second copy of the weights in another form.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from analyzer.importing import model_bin
from analyzer.importing.checkpoint import Float32Array, ImportFailedError
from analyzer.importing.model_bin import ModelBin, read_model_bin, write_model_bin
from analyzer.importing.quantize import dequantize_rows, quantize_in_parts
from analyzer.manifest import OutputKind, OutputLayer

_WEIGHT = "decoder/projection/weight"
_PROJECTION = "decoder/projection/"
_EMBEDDINGS = "decoder/embeddings/weight"
_LAYER = re.compile(r"decoder/layer_(\d+)/")


def with_output(
    source: Path,
    target: Path,
    rows: Float32Array,
    *,
    kind: OutputKind = "rows",
    token_ids: Sequence[int] = (),
    layers: int | None = None,
) -> OutputLayer:
    """Writes into the existing folder `target` the model in `source` with `rows` [k, width] as its output layer.

    `kind` and `token_ids` only label what the rows are.
    A pass over the new model returns `parts * k` columns a position; the returned OutputLayer says how to read them.
    CTranslate2 also rounds the last hidden state to int8 before the output layer: features taken through
    `identity_rows` are exactly those rounded states, so a head trained on them meets the same numbers when serving.
    With `layers` only the first so many layers are kept. Copies every other file of `source` but the manifest.
    """
    model = read_model_bin(source / model_bin.FILE_NAME)
    width = model.variable("decoder/layer_norm/gamma").shape[0]
    if rows.shape != (max(len(rows), 1), width) or not np.isfinite(rows).all():
        raise ImportFailedError(f"output rows must be finite and of shape [k, {width}], not {rows.shape}")
    variables = {name: values for name, values in model.variables.items() if not name.startswith(_PROJECTION)}
    variables = _first_layers(variables, layers)
    parts = _set_rows(
        variables,
        rows.astype(np.float32),
        quantized=model.variable(_EMBEDDINGS).dtype == np.int8,
    )
    aliases = {alias: name for alias, name in model.aliases.items() if not alias.startswith(_PROJECTION)}
    if any(name not in variables for name in aliases.values()):
        raise ImportFailedError(f"{source} shares its output layer with another one; import the model again")
    _copy_companions(source, target)
    write_model_bin(
        target / model_bin.FILE_NAME,
        ModelBin(model.specification, model.revision, variables, aliases),
    )
    return OutputLayer(kind=kind, rows=rows.shape[0], parts=parts, token_ids=tuple(token_ids))


def identity_rows(width: int) -> Float32Array:
    """Returns output rows that make a pass return the hidden states themselves."""
    return np.eye(width, dtype=np.float32)


def label_rows(source: Path, token_ids: Sequence[int]) -> Float32Array:
    """Returns the language-model head's rows of some tokens, [k, width], from a model that still has its whole head."""
    model = read_model_bin(source / model_bin.FILE_NAME)
    weight = model.variable(_WEIGHT)
    vocabulary = model.variable(_EMBEDDINGS).shape[0]
    if weight.shape[0] != vocabulary:
        raise ImportFailedError(f"{source} no longer has its language-model head; use the revision it was derived from")
    outside = [token for token in token_ids if not 0 <= token < vocabulary]
    if outside or not token_ids:
        raise ImportFailedError(f"label tokens must be ids between 0 and {vocabulary - 1}, not {outside or 'none'}")
    chosen = np.asarray(weight[list(token_ids)])
    if chosen.dtype != np.int8:
        return chosen.astype(np.float32)
    return dequantize_rows(
        chosen,
        np.asarray(model.variable(_WEIGHT + "_scale")[list(token_ids)], dtype=np.float32),
    )


def _first_layers(variables: dict[str, model_bin.Variable], layers: int | None) -> dict[str, model_bin.Variable]:
    present = {int(match[1]) for name in variables if (match := _LAYER.match(name))}
    if layers is None:
        return variables
    if not 1 <= layers <= len(present):
        raise ImportFailedError(f"can't keep {layers} layers: the model has {len(present)}")

    def kept(name: str) -> bool:
        match = _LAYER.match(name)
        return match is None or int(match[1]) < layers

    return {name: values for name, values in variables.items() if kept(name)}


def _set_rows(variables: dict[str, model_bin.Variable], rows: Float32Array, *, quantized: bool) -> Literal[1, 2]:
    if not quantized:
        variables[_WEIGHT] = rows
        return 1
    variables[_WEIGHT], variables[_WEIGHT + "_scale"], parts = quantize_in_parts(rows)
    return parts


def _copy_companions(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.name not in (model_bin.FILE_NAME, "manifest.json"):
            shutil.copyfile(file, target / file.name)
