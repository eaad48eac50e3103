"""The watcher on a real file."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from router.composition.reloading import ConfigWatcher
from servicekit.config import ConfigError


async def until(condition: Callable[[], bool]) -> None:
    """Waits for it, two seconds at most."""
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class Applied:
    """Notes what the file said each time it was applied; refuses what begins with "bad"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: list[str] = []

    def __call__(self) -> None:
        """Takes the file's text."""
        text = self.path.read_text()
        if text.startswith("bad"):
            raise ConfigError("file:1: field: wrong")
        self.texts.append(text)


async def test_a_change_is_applied_and_a_bad_one_refused(tmp_path: Path) -> None:
    """The good ones before and after a bad one are in force."""
    path = tmp_path / "router.yaml"
    path.write_text("one")
    applied = Applied(path)
    watcher = ConfigWatcher(path, applied, check_seconds=0.01)
    watching = asyncio.create_task(watcher.run())
    path.write_text("two")
    await until(lambda: watcher.applied == 1)
    path.write_text("bad")
    await until(lambda: watcher.refused == 1)
    path.write_text("three")
    await until(lambda: watcher.applied == 2)
    assert applied.texts == ["two", "three"]
    watching.cancel()


async def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes does it."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    path = tmp_path / "router.yaml"
    path.symlink_to("one")
    applied = Applied(path)
    watching = asyncio.create_task(ConfigWatcher(path, applied, check_seconds=0.01).run())
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(path)
    await until(lambda: applied.texts == ["two"])
    watching.cancel()


async def test_a_poke_applies_what_did_not_change(tmp_path: Path) -> None:
    """A key file may have."""
    path = tmp_path / "router.yaml"
    path.write_text("one")
    applied = Applied(path)
    watcher = ConfigWatcher(path, applied, check_seconds=60)
    watching = asyncio.create_task(watcher.run())
    watcher.poke()
    await until(lambda: applied.texts == ["one"])
    watching.cancel()
