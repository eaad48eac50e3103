"""Reads and writes CTranslate2's `model.bin`, so that an output layer can be replaced without the checkpoint.

Layout (little endian, binary version 6): version u32, specification name, its revision u32; a count u32 and so many
variables {name, rank u8, dimensions u32 each, type u8, bytes u32, data}; a count u32 and so many aliases {alias, name}.
A name is a u16 length (with the closing zero) and its bytes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.importing.checkpoint import ImportFailedError

BINARY_VERSION = 6
_MAX_RANK = 8
FILE_NAME = "model.bin"
_TYPES = tuple(np.dtype(name) for name in ("float32", "int8", "int16", "int32", "float16"))

Variable: TypeAlias = npt.NDArray[Any]


class ModelBinError(ImportFailedError):
    """A `model.bin` that is truncated, of another version, or not one at all."""


@dataclass(frozen=True)
class ModelBin:
    """The content of one file; arrays read from disk are read-only views of it."""

    specification: str
    revision: int
    variables: Mapping[str, Variable]
    aliases: Mapping[str, str]

    def variable(self, name: str) -> Variable:
        """Returns a variable by its own name or by an alias; raises ModelBinError when there is none."""
        target = self.aliases.get(name, name)
        if name.endswith("_scale") and (owner := name.removesuffix("_scale")) in self.aliases:
            target = self.aliases[owner] + "_scale"
        try:
            return self.variables[target]
        except KeyError:
            raise ModelBinError(f"{FILE_NAME} holds no variable {name}; import the model again") from None


class _Cursor:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._data):
            raise ModelBinError(f"{FILE_NAME} ends after {len(self._data)} bytes, in the middle of a value")
        view = memoryview(self._data)[self._at : end]
        self._at = end
        return view

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def name(self) -> str:
        try:
            return bytes(self.take(self.number("<H"))).rstrip(b"\0").decode()
        except UnicodeDecodeError as error:
            raise ModelBinError(f"{FILE_NAME} holds a name that is not text") from error


def read_model_bin(path: Path) -> ModelBin:
    """Maps a `model.bin` into memory; raises ModelBinError when its structure is not sound."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise ModelBinError(f"{path} is empty")
        cursor = _Cursor(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    version = cursor.number("<I")
    if version != BINARY_VERSION:
        raise ModelBinError(f"{path} has binary version {version}, this release reads {BINARY_VERSION}")
    specification, revision = cursor.name(), cursor.number("<I")
    variables = dict(_read_variable(cursor) for _ in range(cursor.number("<I")))
    aliases = {cursor.name(): cursor.name() for _ in range(cursor.number("<I"))}
    return ModelBin(specification, revision, variables, aliases)


def _read_variable(cursor: _Cursor) -> tuple[str, Variable]:
    name = cursor.name()
    dimensions = tuple(cursor.number("<I") for _ in range(cursor.number("<B")))
    type_id, size = cursor.number("<B"), cursor.number("<I")
    if type_id >= len(_TYPES) or len(dimensions) > _MAX_RANK:
        raise ModelBinError(
            f"variable {name} has type {type_id} and rank {len(dimensions)}, which this release can't read"
        )
    expected = _TYPES[type_id].itemsize
    for dimension in dimensions:
        expected *= dimension
    if size != expected:
        raise ModelBinError(f"variable {name} says {size} bytes, its shape {dimensions} needs {expected}")
    return name, np.frombuffer(cursor.take(size), dtype=_TYPES[type_id]).reshape(dimensions)


def write_model_bin(path: Path, model: ModelBin) -> None:
    """Writes a file CTranslate2 can load; variables go out sorted by name, as its own converter writes them."""
    with path.open("wb") as file:
        file.write(struct.pack("<I", BINARY_VERSION))
        _write_name(file, model.specification)
        file.write(struct.pack("<II", model.revision, len(model.variables)))
        for name, values in sorted(model.variables.items()):
            _write_variable(file, name, values)
        file.write(struct.pack("<I", len(model.aliases)))
        for alias, target in sorted(model.aliases.items()):
            _write_name(file, alias)
            _write_name(file, target)


def _write_variable(file: BinaryIO, name: str, values: Variable) -> None:
    _write_name(file, name)
    file.write(struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape))
    file.write(struct.pack("<BI", _TYPES.index(values.dtype), values.nbytes))
    file.write(np.ascontiguousarray(values).data if values.ndim else values.tobytes())


def _write_name(file: BinaryIO, name: str) -> None:
    encoded = name.encode() + b"\0"
    file.write(struct.pack("<H", len(encoded)) + encoded)
