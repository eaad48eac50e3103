"""Reads single tensors of a safetensors file as float32.

The `safetensors` package checks the header; its numpy side can't return bfloat16, which most Llama checkpoints are in,
so the bytes are read here.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from analyzer.importing.checkpoint import CheckpointDamagedError, Float32Array, UnsupportedArchitectureError

_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile:
    """One file; tensors are read when asked for."""

    def __init__(self, path: Path) -> None:
        """Checks the header; raises CheckpointDamagedError when it contradicts itself or the file."""
        try:
            with safetensors.safe_open(path, framework="np"):
                pass
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(_LENGTH_BYTES))
                header = json.loads(file.read(length))
        except (safetensors.SafetensorError, OSError, ValueError, struct.error) as error:
            raise CheckpointDamagedError(f"{path.name} is truncated or damaged ({error}); fetch it again") from error
        self._path = path
        self._data_start = _LENGTH_BYTES + length
        self._entries = {
            name: _Entry(entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
            for name, entry in header.items()
            if name != "__metadata__"
        }

    def __repr__(self) -> str:
        return f"<SafetensorsFile {self._path.name}: {len(self._entries)} tensors>"

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def names(self) -> list[str]:
        """Returns the names of the tensors in this file."""
        return list(self._entries)

    def array(self, name: str) -> Float32Array:
        """Returns one tensor converted to float32."""
        entry = self._entries.get(name)
        if entry is None:
            raise CheckpointDamagedError(f"{self._path.name} lacks the tensor {name} its index promises")
        if entry.dtype not in _TYPES:
            raise UnsupportedArchitectureError(
                f"tensor {name} is stored as {entry.dtype}; import an unquantised checkpoint (F32, F16 or BF16)"
            )
        dtype = _TYPES[entry.dtype]
        count = (entry.end - entry.start) // dtype.itemsize
        raw = np.fromfile(self._path, dtype=dtype, count=count, offset=self._data_start + entry.start)
        if raw.size != count:
            raise CheckpointDamagedError(f"{self._path.name} ends inside the tensor {name}; fetch it again")
        if entry.dtype == "BF16":  # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        values: Float32Array = raw.astype(np.float32, copy=False).reshape(entry.shape)
        return values
