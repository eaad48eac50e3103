"""Walks a GGUF header within the file's bounds before the `gguf` package reads it.

The package trusts the counts it finds: a damaged file makes it loop over 2**60 absent values. This check reads nothing
but lengths, so it is quick, and after it every count is known to fit into the file.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from analyzer.importing.checkpoint import CheckpointDamagedError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4


class _Walk:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 0

    def skip(self, size: int) -> bytes:
        """Moves on by `size` bytes and returns the first eight of them."""
        end = self._at + size
        if end > len(self._data):
            raise CheckpointDamagedError(
                f"{self._path.name} is truncated or damaged: its header needs byte {end}, "
                f"the file has {len(self._data)}; fetch it again"
            )
        start, self._at = self._at, end
        return self._data[start : min(end, start + 8)]

    def u32(self) -> int:
        return int(struct.unpack("<I", self.skip(4))[0])

    def u64(self) -> int:
        return int(struct.unpack("<Q", self.skip(8))[0])

    def string(self) -> None:
        self.skip(self.u64())

    def value(self, kind: int, *, in_array: bool = False) -> None:
        if kind in _SCALAR_BYTES:
            self.skip(_SCALAR_BYTES[kind])
        elif kind == _STRING:
            self.string()
        elif kind == _ARRAY and not in_array:
            self.array()
        else:
            raise CheckpointDamagedError(f"{self._path.name} holds a metadata value of unknown type {kind}")

    def array(self) -> None:
        kind, count = self.u32(), self.u64()
        if kind in _SCALAR_BYTES:
            self.skip(_SCALAR_BYTES[kind] * count)
            return
        for _ in range(count):
            self.value(kind, in_array=True)

    def tensor(self) -> None:
        self.string()
        dimensions = self.u32()
        if dimensions > _MAX_DIMENSIONS:
            raise CheckpointDamagedError(f"{self._path.name} declares a tensor of {dimensions} dimensions")
        self.skip(8 * dimensions + 4 + 8)


def check_gguf_header(path: Path) -> None:
    """Raises CheckpointDamagedError when the header of the GGUF file does not fit into the file."""
    if path.stat().st_size == 0:
        raise CheckpointDamagedError(f"{path.name} is empty; fetch it again")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        walk = _Walk(path, data)
        if walk.skip(4) != _MAGIC:
            raise CheckpointDamagedError(f"{path.name} is not a GGUF file")
        version = walk.u32()
        if version not in _VERSIONS:
            raise CheckpointDamagedError(
                f"{path.name} is GGUF version {version}; versions 2 and 3 (little endian) are read"
            )
        tensors, values = walk.u64(), walk.u64()
        for _ in range(values):
            walk.string()
            walk.value(walk.u32())
        for _ in range(tensors):
            walk.tensor()
