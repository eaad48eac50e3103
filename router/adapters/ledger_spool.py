"""The ledger's first home: JSON lines on the local disk, one write a record, so that a killed process loses none.

Each process appends to a segment of its own and holds a lock on it. A mover takes whole lines out of every segment, the
dead processes' too, and drops a segment once nobody writes to it and all of it is taken. A record is known by segment
and offset: that pair is what "exactly once" is counted by.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from router.records import RequestRecord

SEGMENT_BYTES_MAX = 4 * 1024 * 1024
READ_BYTES_MAX = 1024 * 1024


class SpoolFull(Exception):
    """The store has been away for so long that the spool has reached its limit."""


@dataclass(frozen=True)
class Line:
    """One whole line of a segment: where it begins and what it says."""

    segment: str
    offset: int
    text: bytes


class Spool:
    """Appends records. Its methods are short and never wait for the store."""

    def __init__(self, folder: Path, bytes_max: int, wall_clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._wall_clock = wall_clock
        self._descriptor: int | None = None
        self._active = ""
        self._size = 0
        self._torn = False
        self._waiting_bytes = 0
        self.appended = 0
        self.dropped = 0

    def __repr__(self) -> str:
        return f"Spool({self._folder}: {self.appended} appended, {self.dropped} dropped, {self._size} bytes in use)"

    @property
    def active(self) -> str:
        """The segment that is being written; empty before the first record."""
        return self._active

    def append(self, record: RequestRecord) -> None:
        """Keeps a record, in one write. Raises OSError or SpoolFull when it can't; the drop is counted."""
        try:
            self._append(record.to_json().encode())
        except (OSError, SpoolFull):
            self.dropped += 1
            raise
        self.appended += 1

    def close(self) -> None:
        """Closes the segment; what is in it stays for the mover."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._active = None, ""

    def rotate(self) -> None:
        """Begins a new segment with the next record when the current one is large."""
        if self._size >= SEGMENT_BYTES_MAX:
            self._waiting_bytes += self._size
            self.close()

    def set_waiting(self, waiting_bytes: int) -> None:
        """Hears from the mover how much of the other segments is still to be moved."""
        self._waiting_bytes = waiting_bytes

    def _append(self, text: bytes) -> None:
        if self._waiting_bytes + self._size + len(text) > self._bytes_max:
            raise SpoolFull(f"{self._folder} holds {self._bytes_max} bytes; the store takes none")
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None  # noqa: S101 - opened just above
        # A write that came short, on a full disk, leaves half a line: the next one must not be glued to it.
        line = (b"\n" if self._torn else b"") + text + b"\n"
        written = 0
        try:
            written = os.write(self._descriptor, line)
        finally:
            self._size += written
            self._torn = (written < len(line)) if written else self._torn
        if written < len(line):
            raise OSError("the disk took only a part of the record")

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(self._wall_clock() * 1000):013d}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._folder / name, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._descriptor, self._active, self._size, self._torn = descriptor, name, 0, False


class Segments:
    """The mover's view of the spool's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """All segments, oldest first; none when there is no folder yet."""
        return sorted(path.name for path in self._folder.glob("*.jsonl"))

    def lines(self, name: str, offset: int) -> Iterator[Line]:
        """Whole lines from `offset` on, about a megabyte at most; a torn last line is none yet."""
        with (self._folder / name).open("rb") as file:
            file.seek(offset)
            data = file.read(READ_BYTES_MAX)
            if b"\n" not in data and len(data) == READ_BYTES_MAX:
                data += file.readline()
        at = offset
        for text in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
            yield Line(name, at, text)
            at += len(text)

    def size(self, name: str) -> int:
        """Bytes of a segment; 0 when it is gone."""
        with suppress(FileNotFoundError):
            return (self._folder / name).stat().st_size
        return 0

    def drop_if_abandoned(self, name: str, moved_bytes: int) -> bool:
        """Deletes a segment that no process writes to any more and that holds no further whole line; whether it did."""
        with (self._folder / name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if any(self.lines(name, moved_bytes)):  # written between the last look and its writer's end
                return False
            (self._folder / name).unlink()
        return True
