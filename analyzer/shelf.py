"""The model store as operators' calls see it."""

from __future__ import annotations

from analyzer.adapters.modelstore import Revision, RevisionNotFoundError
from analyzer.loading import LOAD_ERRORS, Loaded, ModelLoader
from analyzer.manifest import FILE_NAME
from analyzer.switching import RevisionFacts
from servicekit.errors import FailedPrecondition, NotFound


class StoreShelf:
    """Lists and loads; the store's errors become statuses."""

    def __init__(self, loader: ModelLoader) -> None:
        self._loader = loader

    def list_revisions(self) -> list[RevisionFacts]:
        """Returns all revisions, newest first."""
        store = self._loader.store
        facts = [_facts(store.open(name)) for name in store.names()]
        return sorted(facts, key=lambda each: -each.created_at)

    def load(self, name: str) -> Loaded:
        """Loads one; raises NotFound or FailedPrecondition."""
        try:
            return self._loader.load(name)
        except RevisionNotFoundError as error:
            raise NotFound("UNKNOWN_REVISION", f"There is no revision {name} in this replica's store.") from error
        except LOAD_ERRORS as error:
            raise FailedPrecondition("REVISION_UNFIT", str(error)) from error


def _facts(revision: Revision) -> RevisionFacts:
    manifest = revision.manifest
    return RevisionFacts(
        name=revision.name,
        base_model=manifest.base.name,
        layer_count=manifest.architecture.layers_kept,
        judge="head" if manifest.judge == "head" else "label",
        created_at=(revision.path / FILE_NAME).stat().st_mtime,
    )
