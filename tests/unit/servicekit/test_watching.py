"""A file is reported when its content changed, or when somebody asks, and not otherwise."""

import asyncio
from pathlib import Path

import pytest

from servicekit.watching import FileWatch


async def reported(watch: FileWatch, seconds: float = 0.5) -> bool:
    """Whether a change comes in time."""
    changes = watch.changes()
    try:
        async with asyncio.timeout(seconds):
            await anext(changes)
    except TimeoutError:
        return False
    else:
        return True
    finally:
        await changes.aclose()  # type: ignore[attr-defined]


async def test_new_content_is_reported_once(tmp_path: Path) -> None:
    """The same bytes again are no change."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    watch = FileWatch(path, 0.01)
    path.write_text("1")
    assert not await reported(watch, 0.1)
    path.write_text("2")
    assert await reported(watch)
    assert not await reported(watch, 0.1)


async def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """As a ConfigMap is updated."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "a.yaml"
    link.symlink_to(tmp_path / "one")
    watch = FileWatch(link, 0.01)
    (tmp_path / "next").symlink_to(tmp_path / "two")
    (tmp_path / "next").rename(link)
    assert await reported(watch)


@pytest.mark.parametrize("gone", [True, False])
async def test_asking_reports_what_is_there(tmp_path: Path, *, gone: bool) -> None:
    """A file that is gone is no change."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    watch = FileWatch(path, 10.0)
    if gone:
        path.unlink()
    watch.ask()
    assert await reported(watch, 0.3) is not gone
