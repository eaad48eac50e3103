"""The model store: a folder of revisions and one atomically switched pointer to the active one.

<root>/revisions/<name>/manifest.json and the files it lists
<root>/active            JSON: the active revision and the ones before it, newest first
<root>/staging/          half-written revisions; nothing in it is ever served
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from analyzer.files import sha256_of, write_durably
from analyzer.manifest import (
    FILE_NAME,
    REVISION_NAME_PATTERN,
    FileRecord,
    Manifest,
    ManifestError,
)

HISTORY_LENGTH = 20
MAX_REVISION_BYTES = 64 * 2**30
MAX_MANIFEST_BYTES = 16 * 2**20


class ModelStoreError(Exception):
    """Something about the store that a person can put right; the message says how."""


class RevisionNotFoundError(ModelStoreError):
    """There is no such revision, or none is active."""


class RevisionExistsError(ModelStoreError):
    """A revision of that name is already there; revisions are never overwritten."""


class RevisionDamagedError(ModelStoreError):
    """The files on disk are not the ones the manifest describes."""


class RevisionTooNewError(ModelStoreError):
    """The revision was converted by a newer CTranslate2 than the one installed."""


@dataclass(frozen=True)
class Revision:
    """A revision on disk."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The revision's name, which is its folder's."""
        return self.manifest.revision


def default_root(environment: Mapping[str, str]) -> Path:
    """Returns TINYROUTE_MODELS, or the `tinyroute/models` folder of the user's data directory."""
    if chosen := environment.get("TINYROUTE_MODELS"):
        return Path(chosen)
    data = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "tinyroute" / "models"


class ModelStore:
    """Revisions under one root folder, which is created when something is first added."""

    def __init__(self, root: Path, *, ctranslate2_version: str | None = None) -> None:
        self._root = root
        self._ctranslate2_version = ctranslate2_version or version("ctranslate2")

    def __repr__(self) -> str:
        return f"<ModelStore {self._root}: {len(self.names())} revisions, active {self.active_name()}>"

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self._root

    def names(self) -> list[str]:
        """Returns the names of all revisions, sorted."""
        folder = self._root / "revisions"
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())

    def open(self, name: str | None = None) -> Revision:
        """Returns a revision (the active one when None) with its manifest read, its files not yet checked."""
        chosen = name or self.active_name()
        if chosen is None:
            raise RevisionNotFoundError(
                f"no revision is active in {self._root}; run 'analyzer model pull default', "
                "then 'analyzer model activate NAME'"
            )
        path = self._path(chosen)
        manifest = _read_manifest(path)
        if manifest.revision != chosen:
            raise RevisionDamagedError(f"{path} says it is revision {manifest.revision!r}; import it again")
        return Revision(path, manifest)

    def verify(self, name: str | None = None) -> Revision:
        """Returns a revision after checking its converter and each file's kind, size and sha256."""
        revision = self.open(name)
        self._refuse_newer_converter(revision)
        extra = {entry.name for entry in revision.path.iterdir()} - set(revision.manifest.files) - {FILE_NAME}
        if extra:
            raise RevisionDamagedError(f"{revision.path} holds files its manifest does not list: {sorted(extra)}")
        if sum(record.size for record in revision.manifest.files.values()) > MAX_REVISION_BYTES:
            raise RevisionDamagedError(f"revision {revision.name} claims more than {MAX_REVISION_BYTES} bytes")
        for file_name, record in revision.manifest.files.items():
            _check_file(revision.path / file_name, record)
        return revision

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yields a new empty folder on the store's file system, removed at the end unless it was added."""
        parent = self._root / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, staged: Path, manifest: Manifest) -> Revision:
        """Writes the manifest into a staged folder and moves it into place in one step.

        Raises RevisionExistsError, leaving the old revision as it is, when the name is taken.
        """
        target = self._path(manifest.revision)
        write_durably(staged / FILE_NAME, manifest.to_json())
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.chmod(0o755)
        try:
            staged.rename(target)
        except OSError as error:
            if target.exists():
                raise RevisionExistsError(
                    f"revision {manifest.revision} exists already; remove {target} or choose another name with --name"
                ) from error
            raise
        return Revision(target, manifest)

    def remove(self, name: str) -> None:
        """Deletes a revision that is not active."""
        if name == self.active_name():
            raise ModelStoreError(f"revision {name} is active; activate another one first")
        path = self._path(name)
        if not path.is_dir():
            raise self._not_found(name)
        shutil.rmtree(path)

    def active_name(self) -> str | None:
        """Returns the active revision's name, or None when none is."""
        history = self.history()
        return history[0] if history else None

    def history(self) -> list[str]:
        """Returns the active revision and the ones active before it, newest first."""
        pointer = self._root / "active"
        try:
            names = json.loads(pointer.read_text())["history"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise ModelStoreError(
                f"{pointer} is damaged; run 'analyzer model activate NAME' after removing it"
            ) from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ModelStoreError(f"{pointer} is damaged; run 'analyzer model activate NAME' after removing it")
        return names

    def activate(self, name: str) -> Revision:
        """Verifies a revision and makes it the active one in one atomic step."""
        revision = self.verify(name)
        history = self.history()
        if history[:1] != [name]:
            self._point([name, *history])
        return revision

    def rollback(self) -> Revision:
        """Makes the revision that was active before the present one active again, after verifying it."""
        history = self.history()
        if not history[1:]:
            raise RevisionNotFoundError("no earlier revision was active, so there is nothing to roll back to")
        revision = self.verify(history[1])
        self._point(history[1:])
        return revision

    def _point(self, history: list[str]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        write_durably(
            self._root / "active",
            json.dumps({"history": history[:HISTORY_LENGTH]}) + "\n",
        )

    def _path(self, name: str) -> Path:
        if not re.fullmatch(REVISION_NAME_PATTERN, name):
            raise ModelStoreError(
                f"{name!r} is not a revision name (small letters, digits, '.', '_' and '-', at most 100)"
            )
        path = self._root / "revisions" / name
        if path.is_symlink():
            raise RevisionDamagedError(f"{path} is a link; revisions must be real folders")
        return path

    def _not_found(self, name: str) -> RevisionNotFoundError:
        known = ", ".join(self.names()) or "none"
        return RevisionNotFoundError(f"no revision {name} in {self._root} (there: {known})")

    def _refuse_newer_converter(self, revision: Revision) -> None:
        made, installed = (
            revision.manifest.ctranslate2_version,
            self._ctranslate2_version,
        )
        if _numbers(made) > _numbers(installed):
            raise RevisionTooNewError(
                f"revision {revision.name} was converted by CTranslate2 {made}, installed is {installed}; "
                "upgrade the package, or import the model again here"
            )


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Returns size and sha256 of every file in a folder, but its manifest."""
    files = sorted(entry for entry in folder.iterdir() if entry.name != FILE_NAME)
    return {file.name: FileRecord(size=file.stat().st_size, sha256=sha256_of(file)) for file in files}


def _read_manifest(folder: Path) -> Manifest:
    path = folder / FILE_NAME
    if path.is_symlink():
        raise RevisionDamagedError(f"{path} is a link; import the model again")
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise RevisionDamagedError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes; import the model again")
        return Manifest.from_json(path.read_bytes())
    except FileNotFoundError as error:
        known = ", ".join(sorted(entry.name for entry in folder.parent.glob("*"))) or "none"
        raise RevisionNotFoundError(f"no revision {folder.name} in {folder.parent} (there: {known})") from error
    except ManifestError as error:
        raise RevisionDamagedError(f"{folder.name}: {error}; import the model again") from error


def _check_file(path: Path, record: FileRecord) -> None:
    if path.is_symlink() or not path.is_file():
        raise RevisionDamagedError(f"{path} is missing or not a plain file; import the model again")
    if (size := path.stat().st_size) != record.size:
        raise RevisionDamagedError(f"{path} has {size} bytes, its manifest says {record.size}; import the model again")
    if sha256_of(path) != record.sha256:
        raise RevisionDamagedError(f"{path} fails its sha256; import the model again")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
