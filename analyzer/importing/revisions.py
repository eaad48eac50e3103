"""Puts converted models into the store as revisions with a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from analyzer.adapters.modelstore import ModelStore, Revision, file_records
from analyzer.importing.checkpoint import Float32Array, LlamaCheckpoint, TokenizerSource
from analyzer.importing.convert import ConvertedModel, Quantization, convert
from analyzer.importing.output_layer import with_output
from analyzer.importing.progress import Progress, silent
from analyzer.manifest import (
    GoldenPrompt,
    Judge,
    Manifest,
    OutputKind,
    OutputLayer,
    PromptFrame,
)


def base_revision_name(checkpoint: LlamaCheckpoint, layers: int | None, quantization: Quantization) -> str:
    """Returns a name such as `smollm2-135m-instruct-15of30-int8`."""
    title = checkpoint.base.name.rsplit("/", 1)[-1].lower()
    slug = re.sub(r"[^a-z0-9._-]+", "-", title).strip("-._")[:60] or "model"
    total = checkpoint.shape.layers
    return f"{slug}-{layers or total}of{total}-{quantization}"


def store_base(
    store: ModelStore,
    checkpoint: LlamaCheckpoint,
    *,
    name: str | None = None,
    layers: int | None = None,
    quantization: Quantization = "int8",
    progress: Progress = silent,
) -> Revision:
    """Converts a checkpoint into a new `untrained` revision that keeps its whole language-model head."""
    with store.staging() as folder:
        converted = convert(
            checkpoint,
            folder,
            layers=layers,
            quantization=quantization,
            progress=progress,
        )
        revision = name or base_revision_name(checkpoint, layers, quantization)
        return store.add(folder, _base_manifest(checkpoint, converted, revision, folder))


@dataclass(frozen=True)
class NewOutput:
    """The output layer and judge of a revision derived from another one.

    `rows` [k, width] in float32; `calibration` and `evaluation` are JSON stored as they are.
    """

    rows: Float32Array
    kind: OutputKind
    judge: Judge
    token_ids: Sequence[int] = ()
    layers: int | None = None
    calibration: dict[str, JsonValue] = field(default_factory=dict)
    evaluation: dict[str, JsonValue] = field(default_factory=dict)
    instruction_set: str | None = None
    frame: PromptFrame | None = None


def derive(
    store: ModelStore,
    source: str,
    name: str,
    new: NewOutput,
    *,
    golden: Callable[[Path, OutputLayer], Sequence[GoldenPrompt]] | None = None,
) -> Revision:
    """Stores `source` with another output layer as revision `name`.

    `golden` is called with the finished model's folder, before it is added, and returns the prompts with the scores
    that later loads must reproduce.
    """
    original = store.verify(source)
    with store.staging() as folder:
        output = with_output(
            original.path,
            folder,
            new.rows,
            kind=new.kind,
            token_ids=new.token_ids,
            layers=new.layers,
        )
        architecture = original.manifest.architecture
        manifest = original.manifest.model_copy(
            update={
                "revision": name,
                "derived_from": source,
                "architecture": architecture.model_copy(update={"layers_kept": new.layers or architecture.layers_kept}),
                "output": output,
                "judge": new.judge,
                "calibration": new.calibration,
                "evaluation": new.evaluation,
                "instruction_set": new.instruction_set,
                "frame": new.frame or original.manifest.frame,
                "golden": tuple(golden(folder, output)) if golden else (),
                "files": file_records(folder),
            }
        )
        return store.add(folder, Manifest.from_json(manifest.to_json()))


def _base_manifest(checkpoint: LlamaCheckpoint, converted: ConvertedModel, revision: str, folder: Path) -> Manifest:
    return Manifest(
        revision=revision,
        base=checkpoint.base,
        architecture=converted.architecture,
        quantization=converted.quantization,
        ctranslate2_version=converted.ctranslate2_version,
        tokenizer=checkpoint.tokenizer.kind,
        frame=_frame(checkpoint.tokenizer),
        output=converted.output,
        judge="untrained",
        files=file_records(folder),
    )


def _frame(tokenizer: TokenizerSource) -> PromptFrame:
    return PromptFrame(
        special_tokens=dict(tokenizer.special_tokens),
        bos_token_id=tokenizer.bos_token_id,
        add_bos=tokenizer.add_bos,
        eos_token_id=tokenizer.eos_token_id,
        chat_template=tokenizer.chat_template,
    )
