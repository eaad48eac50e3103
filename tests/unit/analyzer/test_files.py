"""Files are there whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from analyzer.files import sha256_of, write_durably


def test_the_checksum_is_the_files(tmp_path: Path) -> None:
    """Also of a file larger than one piece."""
    content = b"x" * (2**20 + 5)
    (tmp_path / "f").write_bytes(content)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_writing_replaces_in_one_step_and_leaves_nothing_beside(tmp_path: Path) -> None:
    """The old content is gone, no temporary file stays."""
    for text in ("old", "new"):
        write_durably(tmp_path / "f", text)
    assert (tmp_path / "f").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_a_failed_write_cleans_up(tmp_path: Path) -> None:
    """When the target can't be replaced, the temporary file goes."""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "inside").touch()
    with pytest.raises(OSError, match="f"):
        write_durably(tmp_path / "f", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]
