"""The model store as operators see it: what is there, and why something can't be loaded."""

from pathlib import Path

import pytest

from analyzer import shelf
from analyzer.adapters.modelstore import ModelStore
from analyzer.importing.revisions import store_base
from analyzer.loading import ModelLoader
from analyzer.shelf import StoreShelf, free_bytes
from servicekit.errors import FailedPrecondition, NotFound, ResourceExhausted
from tests.support.llama_checkpoints import RandomCheckpoint, byte_level_source, tiny_shape


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with one revision."""
    found = ModelStore(tmp_path)
    store_base(found, RandomCheckpoint(tiny_shape(), byte_level_source()), name="base")
    return found


def test_revisions_are_listed_with_their_judge(store: ModelStore) -> None:
    """An untrained one serves with the label judge."""
    (facts,) = StoreShelf(ModelLoader(store, 1)).list_revisions()
    assert (facts.name, facts.judge, facts.layer_count) == ("base", "label", 3)


def test_a_revision_is_loaded_or_the_reason_is_a_status(store: ModelStore) -> None:
    """Absent is not the same as damaged."""
    found = StoreShelf(ModelLoader(store, 1))
    assert found.load("base").model.revision == "base"
    with pytest.raises(NotFound):
        found.load("zzz")
    (store.open("base").path / "tokenizer.json").write_text("{}")
    with pytest.raises(FailedPrecondition, match="import the model again"):
        found.load("base")


def test_a_second_model_needs_memory(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is loaded: the active one must not be killed for it."""
    assert (free_bytes() or 1) > 0
    monkeypatch.setattr(shelf, "free_bytes", lambda: 1000)
    with pytest.raises(ResourceExhausted, match="MB are free"):
        StoreShelf(ModelLoader(store, 1)).load("base")
