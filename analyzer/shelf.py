"""The model store as operators' calls see it."""

from __future__ import annotations

from pathlib import Path

from analyzer.adapters.modelstore import Revision, RevisionNotFoundError
from analyzer.loading import LOAD_ERRORS, Loaded, ModelLoader
from analyzer.manifest import FILE_NAME
from analyzer.switching import RevisionFacts
from servicekit.errors import FailedPrecondition, NotFound, ResourceExhausted

_LOADING_FACTOR = 1.5  # the weights, and the buffers of passes


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
        """Loads one; raises NotFound, FailedPrecondition or, without memory for a second model, ResourceExhausted."""
        try:
            self._check_memory(self._loader.store.open(name))
            return self._loader.load(name)
        except RevisionNotFoundError as error:
            raise NotFound("UNKNOWN_REVISION", f"There is no revision {name} in this replica's store.") from error
        except LOAD_ERRORS as error:
            raise FailedPrecondition("REVISION_UNFIT", str(error)) from error

    def _check_memory(self, revision: Revision) -> None:
        size = sum(record.size for record in revision.manifest.files.values())
        available = free_bytes()
        if available is not None and available < _LOADING_FACTOR * size:
            message = f"Revision {revision.name} takes {size / 1e6:.0f} MB, and {available / 1e6:.0f} MB are free."
            raise ResourceExhausted("NO_MEMORY", message)


def free_bytes() -> int | None:
    """Returns the memory this process may still take: what its control group leaves, or the machine; None: unknown."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            return int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


def _facts(revision: Revision) -> RevisionFacts:
    manifest = revision.manifest
    return RevisionFacts(
        name=revision.name,
        base_model=manifest.base.name,
        layer_count=manifest.architecture.layers_kept,
        judge="head" if manifest.judge == "head" else "label",
        created_at=(revision.path / FILE_NAME).stat().st_mtime,
    )
