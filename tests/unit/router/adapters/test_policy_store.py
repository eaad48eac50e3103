"""Versions are kept, one serves, and the way back is remembered."""

from pathlib import Path

import pytest

from router.adapters.policy_store import PolicyStore
from router.adapters.sqlite_file import SqliteFile
from router.learning.proposing import Objective
from router.learning.versions import State, Version
from router.policy import Policy
from servicekit.errors import Unavailable


def version(revision: str) -> Version:
    """A proposal."""
    return Version(Policy(revision), State.PROPOSED, f"2026-01-0{revision[-1]}", Objective(0.9))


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    """A store with three proposals."""
    file = SqliteFile(tmp_path / "ledger.sqlite")
    file.migrate()
    store = PolicyStore(file)
    for name in ("v1", "v2", "v3"):
        store.put(version(name))
    return store


def serving(store: PolicyStore) -> str:
    """The revision that serves; empty for the configuration's own."""
    found = store.serving()
    return "" if found is None else found.version.policy.revision


def state(store: PolicyStore, revision: str) -> State:
    """What has become of a version."""
    found = store.get(revision)
    assert found is not None
    return found.state


def test_proposals_serve_nobody(store: PolicyStore) -> None:
    """The configuration's own policy does."""
    assert serving(store) == ""
    assert store.revisions() == ["v1", "v2", "v3"]
    assert store.get("v1") == version("v1")
    assert store.get("v9") is None


def test_promotion_and_the_way_back(store: PolicyStore) -> None:
    """One at a time, down to the configuration's own."""
    store.promote("v1", "2026-02-01")
    store.promote("v2", "2026-02-02")
    assert serving(store) == "v2"
    assert (state(store, "v1"), state(store, "v2"), state(store, "v3")) == (
        State.RETIRED,
        State.PROMOTED,
        State.PROPOSED,
    )
    assert store.rollback("2026-02-03", "it was worse")
    assert serving(store) == "v1"
    assert (state(store, "v1"), state(store, "v2")) == (State.PROMOTED, State.RETIRED)
    again = store.serving()
    assert again is not None
    assert again.since == "2026-02-03"
    left = store.get("v2")
    assert left is not None
    assert left.note == "it was worse"
    assert store.rollback("2026-02-04", "")
    assert serving(store) == ""
    assert not store.rollback("2026-02-05", "")


def test_promoting_what_serves_changes_nothing(store: PolicyStore) -> None:
    """It is safe to retry."""
    store.promote("v1", "2026-02-01")
    again = store.promote("v1", "2026-02-02")
    assert again is not None
    assert again.since == "2026-02-01"
    assert store.rollback("2026-02-03", "")
    assert serving(store) == ""


def test_what_is_not_there_is_not_promoted(store: PolicyStore) -> None:
    """And nothing else is left for it."""
    store.promote("v1", "2026-02-01")
    assert store.promote("v9", "2026-02-01") is None
    assert serving(store) == "v1"


def test_a_router_that_comes_late_reverts_nothing_else(store: PolicyStore) -> None:
    """Two routers may notice the same fall in quality."""
    store.promote("v1", "2026-02-01")
    store.promote("v2", "2026-02-02")
    assert store.rollback("2026-02-03", "fell", expected="v2")
    assert not store.rollback("2026-02-03", "fell", expected="v2")
    assert serving(store) == "v1"


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(Unavailable):
        PolicyStore(SqliteFile(tmp_path / "no" / "folder" / "ledger.sqlite")).serving()
