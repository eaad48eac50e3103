"""Trained heads as small files: learned output rows, how to read their scores, and which weights they fit."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from analyzer.adapters.modelstore import ModelStore, Revision
from analyzer.importing.checkpoint import Float32Array, ImportFailedError
from analyzer.importing.revisions import NewOutput, derive
from analyzer.manifest import REVISION_NAME_PATTERN, GoldenPrompt, Manifest, PromptFrame, Sha256

_TOKENIZER_FIELDS = {"special_tokens", "bos_token_id", "add_bos", "eos_token_id", "chat_template"}
SHIPPED = Path(__file__).parent.parent / "heads"


class HeadError(ImportFailedError):
    """A head file that can't be read, or does not fit the revision; the message says which."""


class Head(BaseModel):
    """A head file (JSON). `rows` are float32, little endian, base64; a head fits the weights of `base_sha256` only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    revision: str = Field(pattern=REVISION_NAME_PATTERN)
    base_sha256: Sha256
    layers: int = Field(ge=1)
    width: int = Field(ge=1)
    quantization: str = "int8"
    instruction_set: str | None = None
    frame: PromptFrame | None = None
    rows: str
    calibration: dict[str, JsonValue]
    evaluation: dict[str, JsonValue] = Field(default_factory=dict)
    golden: tuple[GoldenPrompt, ...] = ()
    how_trained: str = ""

    def array(self) -> Float32Array:
        """Returns the rows as [k, width]."""
        try:
            flat = np.frombuffer(base64.b64decode(self.rows, validate=True), dtype="<f4")
            return flat.reshape(-1 if flat.size else 1, self.width).astype(np.float32)
        except (ValueError, binascii.Error) as error:
            raise HeadError(f"head {self.revision}: its rows are not float32 rows of width {self.width}") from error

    def fits(self, manifest: Manifest) -> bool:
        """Says whether the head was trained on these weights, quantised the same way."""
        return (
            manifest.base.sha256 == self.base_sha256
            and manifest.quantization == self.quantization
            and manifest.architecture.width == self.width
            and manifest.architecture.layers_kept >= self.layers
        )


def encode_rows(rows: Float32Array) -> str:
    """Returns rows [k, width] as a head file holds them."""
    return base64.b64encode(np.ascontiguousarray(rows, dtype="<f4").tobytes()).decode()


def load_head(path: Path) -> Head:
    """Reads a head file; raises HeadError."""
    try:
        return Head.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise HeadError(f"there is no head file {path}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HeadError(f"{path.name}: {where}: {first['msg']}") from error


def shipped_head(manifest: Manifest, folder: Path = SHIPPED) -> Head | None:
    """Returns the head this release ships for a base revision, if there is one."""
    heads = (load_head(path) for path in sorted(folder.glob("*.json")))
    return next((head for head in heads if head.fits(manifest)), None)


def attach(store: ModelStore, base: Revision, head: Head) -> Revision:
    """Returns the revision made of a base and a head, storing it unless it is there already."""
    if not head.fits(base.manifest):
        raise HeadError(f"head {head.revision} was not trained on the weights of {base.name}; train one for it")
    if head.revision in store.names():
        return store.verify(head.revision)
    new = NewOutput(
        rows=head.array(),
        kind="rows",
        judge="head",
        layers=head.layers,
        calibration=head.calibration,
        evaluation=head.evaluation,
        instruction_set=head.instruction_set,
        frame=_frame(head, base.manifest),
    )
    return derive(store, base.name, head.revision, new, golden=lambda _folder, _output: head.golden)


def _frame(head: Head, manifest: Manifest) -> PromptFrame:
    """Returns the head's cutting rules over the base's tokens."""
    if head.frame is None:
        return manifest.frame
    tokens = manifest.frame.model_dump(include=_TOKENIZER_FIELDS)
    return head.frame.model_copy(update=tokens)
