"""The store hands out only what it can vouch for."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.adapters.modelstore import (
    ModelStore,
    ModelStoreError,
    RevisionDamagedError,
    RevisionExistsError,
    RevisionNotFoundError,
    RevisionTooNewError,
    default_root,
)
from tests.support.manifests import add_fake_revision, make_manifest, write_fake_files


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store beside CTranslate2 4.8.5."""
    return ModelStore(tmp_path / "models", ctranslate2_version="4.8.5")


def test_an_empty_store_says_how_to_fill_it(store: ModelStore) -> None:
    """Nothing is created by looking; the error names the command."""
    assert store.names() == []
    with pytest.raises(RevisionNotFoundError, match="analyzer model pull default"):
        store.open()
    assert not store.root.exists()


def test_an_added_revision_is_listed_opened_and_verified(store: ModelStore) -> None:
    """What went in comes out, and staging is empty again."""
    added = add_fake_revision(store, "tiny-1")
    assert store.names() == ["tiny-1"]
    assert store.open("tiny-1") == added == store.verify("tiny-1")
    assert list((store.root / "staging").iterdir()) == []


def test_a_revision_is_never_overwritten(store: ModelStore) -> None:
    """The second one of a name is refused and the first stays."""
    add_fake_revision(store, "tiny-1")
    with pytest.raises(RevisionExistsError, match="--name"):
        add_fake_revision(store, "tiny-1", quantization="float32")
    assert store.open("tiny-1").manifest.quantization == "int8"


def test_a_failed_conversion_leaves_nothing_behind(store: ModelStore) -> None:
    """An error inside staging removes the half-written folder."""

    def convert_and_fail() -> None:
        with store.staging() as folder:
            write_fake_files(folder)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        convert_and_fail()
    assert store.names() == []
    assert list((store.root / "staging").iterdir()) == []


def test_activation_and_rollback_follow_the_history(store: ModelStore) -> None:
    """Rolling back returns to what was active before, and ends where history does."""
    for name in ("a", "b", "c"):
        add_fake_revision(store, name)
        store.activate(name)
    store.activate("c")
    assert store.history() == ["c", "b", "a"]
    assert store.rollback().name == "b"
    assert store.open().name == "b"
    assert store.rollback().name == "a"
    with pytest.raises(RevisionNotFoundError, match="nothing to roll back"):
        store.rollback()
    assert repr(store).endswith("3 revisions, active a>")


def test_history_is_bounded(store: ModelStore) -> None:
    """Going back and forth for years does not grow the pointer."""
    add_fake_revision(store, "a")
    add_fake_revision(store, "b")
    for _ in range(30):
        store.activate("a")
        store.activate("b")
    assert len(store.history()) == 20


def test_a_damaged_revision_is_not_activated_and_the_old_one_stays(store: ModelStore) -> None:
    """Activation verifies first."""
    add_fake_revision(store, "good")
    store.activate("good")
    bad = add_fake_revision(store, "bad")
    (bad.path / "model.bin").write_bytes(b"changed")
    with pytest.raises(RevisionDamagedError, match="sha256"):
        store.activate("bad")
    assert store.active_name() == "good"


def damage_size(path: Path) -> None:
    """Appends a byte."""
    (path / "model.bin").write_bytes(b"weights!")


def damage_content(path: Path) -> None:
    """Changes a byte and keeps the size."""
    (path / "model.bin").write_bytes(b"Weights")


def damage_missing(path: Path) -> None:
    """Removes a file."""
    (path / "tokenizer.json").unlink()


def damage_extra(path: Path) -> None:
    """Adds a file."""
    (path / "extra.so").write_bytes(b"x")


def damage_link(path: Path) -> None:
    """Replaces a file by a link to an equal one."""
    elsewhere = path.parent.parent / "weights"
    elsewhere.write_bytes(b"weights")
    (path / "model.bin").unlink()
    (path / "model.bin").symlink_to(elsewhere)


def damage_folder(path: Path) -> None:
    """Replaces a file by a folder."""
    (path / "model.bin").unlink()
    (path / "model.bin").mkdir()


def damage_manifest(path: Path) -> None:
    """Cuts the manifest."""
    (path / "manifest.json").write_text("{")


def damage_name(path: Path) -> None:
    """Gives the folder another revision's manifest."""
    (path / "manifest.json").write_text(make_manifest(revision="other").to_json())


def damage_manifest_link(path: Path) -> None:
    """Turns the manifest into a link."""
    (path / "manifest.json").rename(path.parent.parent / "m.json")
    (path / "manifest.json").symlink_to(path.parent.parent / "m.json")


@pytest.mark.parametrize(
    "damage",
    [
        damage_size,
        damage_content,
        damage_missing,
        damage_extra,
        damage_link,
        damage_folder,
        damage_manifest,
        damage_name,
        damage_manifest_link,
    ],
)
def test_every_kind_of_damage_is_found(damage: object, store: ModelStore) -> None:
    """Sizes, sums, links, missing and foreign files."""
    revision = add_fake_revision(store, "tiny-1")
    damage(revision.path)  # type: ignore[operator]
    with pytest.raises(RevisionDamagedError):
        store.verify("tiny-1")


def test_a_linked_revision_folder_is_refused(store: ModelStore, tmp_path: Path) -> None:
    """A folder outside the store is not served through a link."""
    revision = add_fake_revision(store, "tiny-1")
    revision.path.rename(tmp_path / "outside")
    revision.path.symlink_to(tmp_path / "outside")
    assert store.names() == []
    with pytest.raises(RevisionDamagedError, match="link"):
        store.open("tiny-1")


@pytest.mark.parametrize("name", ["../tiny-1", "", "a/b", "A", ".x", "x" * 101, "a\x00"])
def test_names_can_not_leave_the_store(name: str, store: ModelStore) -> None:
    """Whatever a caller names, only plain names reach the file system."""
    add_fake_revision(store, "tiny-1")
    with pytest.raises(ModelStoreError):
        store.verify(name)


@pytest.mark.parametrize(("made", "accepted"), [("4.8.5", True), ("4.7.12", True), ("4.8.6", False), ("4.10.0", False)])
def test_models_of_a_newer_converter_are_refused(made: str, accepted: bool, store: ModelStore) -> None:  # noqa: FBT001
    """Versions compare as numbers, not as text."""
    add_fake_revision(store, "tiny-1", ctranslate2_version=made)
    if accepted:
        store.verify("tiny-1")
        return
    with pytest.raises(RevisionTooNewError, match="upgrade"):
        store.verify("tiny-1")


@pytest.mark.parametrize("content", ["", "[]", '{"history": 3}', '{"history": [1]}'])
def test_a_damaged_pointer_says_what_to_do(content: str, store: ModelStore) -> None:
    """The pointer is data like any other."""
    add_fake_revision(store, "tiny-1")
    (store.root / "active").write_text(content)
    with pytest.raises(ModelStoreError, match="analyzer model activate"):
        store.active_name()


def test_the_active_revision_is_not_removed(store: ModelStore) -> None:
    """Others are, and only when they exist."""
    for name in ("a", "b"):
        add_fake_revision(store, name)
    store.activate("a")
    store.remove("b")
    assert store.names() == ["a"]
    with pytest.raises(ModelStoreError, match="is active"):
        store.remove("a")
    with pytest.raises(RevisionNotFoundError, match="no revision b"):
        store.remove("b")


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"TINYROUTE_MODELS": "/srv/models"}, Path("/srv/models")),
        ({"XDG_DATA_HOME": "/data"}, Path("/data/tinyroute/models")),
        ({}, Path.home() / ".local/share/tinyroute/models"),
    ],
)
def test_the_default_root_follows_the_environment(environment: dict[str, str], root: Path) -> None:
    """The project's own variable first, then the desktop convention."""
    assert default_root(environment) == root
