"""What a model revision says about itself: the frozen form of its `manifest.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from analyzer.framing import FrameParameters

SCHEMA_VERSION: Literal[1] = 1
FILE_NAME = "manifest.json"
REVISION_NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"

Judge: TypeAlias = Literal["head", "label", "untrained"]
OutputKind: TypeAlias = Literal["vocabulary", "tokens", "identity", "rows"]
TokenizerKind: TypeAlias = Literal["tokenizers", "sentencepiece"]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestError(ValueError):
    """A manifest that can't be read; the message names the field and what is wrong with it."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaseWeights(_Frozen):
    """The published model a revision was made from."""

    name: str
    licence: str
    source: str
    sha256: Sha256 | None = None


class Architecture(_Frozen):
    """The shape of the Llama body; widths in numbers, `layers_kept` counted from the embeddings up."""

    layers_kept: int = Field(ge=1)
    layers_total: int = Field(ge=1)
    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_width: int = Field(ge=1)
    ffn_width: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    rope_theta: float = Field(gt=0)
    rms_epsilon: float = Field(gt=0)

    @model_validator(mode="after")
    def _keeps_no_more_than_there_is(self) -> Architecture:
        if self.layers_kept > self.layers_total:
            raise ValueError(f"layers_kept {self.layers_kept} is more than layers_total {self.layers_total}")
        return self


class PromptFrame(_Frozen):
    """How a conversation becomes at most `token_limit` tokens: the fields of FrameParameters, explained there.

    `special_tokens` are the ids of the control tokens a frame may place itself; the same strings inside a
    caller's text are plain text. `add_bos` says that the model expects every text to begin with `bos_token_id`.
    """

    token_limit: int = Field(default=128, ge=8, le=8192)
    system_token_limit: int = Field(default=16, ge=0)
    earlier_token_reserve: int = Field(default=24, ge=0)
    turn_token_limit: int = Field(default=40, ge=0)
    head_share: float = Field(default=0.625, gt=0, le=1)
    exact_count_characters: int = Field(default=8192, ge=0)
    special_tokens: dict[str, int] = Field(default_factory=dict)
    bos_token_id: int | None = None
    add_bos: bool = False
    eos_token_id: int | None = None
    chat_template: str | None = None

    @model_validator(mode="after")
    def _leaves_room_for_the_last_message(self) -> PromptFrame:
        self.parameters()
        return self

    @classmethod
    def of(cls, parameters: FrameParameters) -> PromptFrame:
        """Returns a frame that cuts like `parameters`, its tokens still to be filled in."""
        return cls(**asdict(parameters))

    def parameters(self) -> FrameParameters:
        """Returns what `analyzer.framing` cuts by."""
        return FrameParameters(
            token_limit=self.token_limit,
            system_token_limit=self.system_token_limit,
            earlier_token_reserve=self.earlier_token_reserve,
            turn_token_limit=self.turn_token_limit,
            head_share=self.head_share,
            exact_count_characters=self.exact_count_characters,
        )


class OutputLayer(_Frozen):
    """What the columns of one forward pass mean.

    `vocabulary`: one logit a token. `tokens`: one logit for each of `token_ids`, in that order. `identity`: the hidden
    state itself. `rows`: one score for each of the learned rows. With `parts` 2 a row is stored as the sum of two
    int8 rows (coarse, then rest), so a pass returns `2 * rows` columns and `merge` adds them up again.
    """

    kind: OutputKind
    rows: int = Field(ge=1)
    parts: Literal[1, 2] = 1
    token_ids: tuple[int, ...] = ()

    def merge(self, columns: Sequence[float]) -> list[float]:
        """Returns the `rows` scores held by `parts * rows` columns (the layer is linear: merge after any mean)."""
        if len(columns) != self.rows * self.parts:
            raise ValueError(f"expected {self.rows * self.parts} columns, got {len(columns)}")
        if self.parts == 1:
            return list(columns)
        return [coarse + rest for coarse, rest in zip(columns[: self.rows], columns[self.rows :], strict=True)]


class FileRecord(_Frozen):
    """Size in bytes and checksum of one file of the revision."""

    size: int = Field(ge=0)
    sha256: Sha256


class GoldenPrompt(_Frozen):
    """A prompt and the scores this revision gave it when it was made."""

    prompt: str
    scores: tuple[float, ...]


class Manifest(_Frozen):
    """Everything a service needs to know before it loads a revision.

    `calibration` is free JSON owned by the judge that wrote it; `evaluation` is a free summary for people.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    revision: str = Field(pattern=REVISION_NAME_PATTERN)
    derived_from: str | None = None
    base: BaseWeights
    architecture: Architecture
    quantization: str
    ctranslate2_version: str
    instruction_set: str | None = None
    tokenizer: TokenizerKind
    frame: PromptFrame = PromptFrame()
    output: OutputLayer
    judge: Judge
    calibration: dict[str, JsonValue] = Field(default_factory=dict)
    evaluation: dict[str, JsonValue] = Field(default_factory=dict)
    golden: tuple[GoldenPrompt, ...] = ()
    files: dict[str, FileRecord]

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            if not is_plain_name(name):
                raise ValueError(f"{name!r} is not a plain file name inside the revision's folder")
        return files

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads a manifest; raises ManifestError naming the first wrong field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ManifestError(f"{FILE_NAME}: {field}: {first['msg']}") from error

    def to_json(self) -> str:
        """Returns the manifest as indented JSON that `from_json` reads back unchanged."""
        return self.model_dump_json(indent=2) + "\n"


def is_plain_name(name: str) -> bool:
    """Says whether `name` is a single visible path component, safe to join to a folder."""
    if not name or "\x00" in name or "\\" in name or name.startswith("."):
        return False
    return PurePosixPath(name).name == name
