"""One revision's parts put together: tokenizer, engine, and the judge that its manifest names.

A part of the composition root.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from analyzer.adapters.engine import Engine, EngineSettings, Pooling
from analyzer.adapters.modelstore import Revision
from analyzer.adapters.tokenizer import Tokenizer, open_tokenizer
from analyzer.conversation import Message
from analyzer.framing import Frame, frame_prompt
from analyzer.judging import Calibration, HeadJudge
from analyzer.labels import LabelJudge, Rubric, content_free_frame, labelled_frame, rubric
from analyzer.models import Model


class LoadError(Exception):
    """A revision that can't serve; the message says why and what to do."""


def assembled(revision: Revision, threads: int) -> Model:
    """Returns a model that answers; raises LoadError, or what its parts raise."""
    manifest = revision.manifest
    tokenizer = open_tokenizer(revision.path, manifest.tokenizer, manifest.frame.special_tokens)
    if manifest.judge == "head":
        return _with_head(revision, tokenizer, threads)
    return _with_labels(revision, tokenizer, threads)


def _with_head(revision: Revision, tokenizer: Tokenizer, threads: int) -> Model:
    manifest = revision.manifest
    parameters = manifest.frame.parameters()
    try:
        calibration = Calibration.model_validate(manifest.calibration)
    except ValueError as error:
        raise LoadError(f"revision {revision.name}: its calibration can't be read; train its head again") from error
    engine = Engine(
        revision.name,
        revision.path,
        manifest.output.merge,
        EngineSettings(threads, Pooling.MEAN, manifest.quantization),
    )
    blank = _blank(revision, tokenizer)

    def frame(messages: Sequence[Message]) -> Frame:
        found = frame_prompt(messages, tokenizer.encode, parameters)
        return found if found.token_ids else Frame(blank, found.prompt_token_count, found.truncated)

    return Model(revision.name, frame, engine, HeadJudge(calibration))


def _blank(revision: Revision, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Returns what stands for a text without any token, since a pass needs one: a line break, or else any token."""
    return tuple(tokenizer.encode("\n")) or (revision.manifest.frame.bos_token_id or 0,)


def _with_labels(revision: Revision, tokenizer: Tokenizer, threads: int) -> Model:
    manifest = revision.manifest
    start = (manifest.frame.bos_token_id,) if manifest.frame.add_bos and manifest.frame.bos_token_id is not None else ()
    found = rubric(tokenizer.encode, start)
    with ExitStack() as stack:
        folder, merge = _label_model(revision, found, stack)
        engine = Engine(revision.name, folder, merge, EngineSettings(threads, Pooling.LAST, manifest.quantization))
    baseline = engine.score_now([content_free_frame(found, tokenizer.encode).token_ids])[0]
    frame = labelled_frame(found, tokenizer.encode, manifest.frame.parameters())
    return Model(revision.name, frame, engine, LabelJudge(baseline))


def _label_model(
    revision: Revision, found: Rubric, stack: ExitStack
) -> tuple[Path, Callable[[Sequence[float]], list[float]]]:
    """Returns a folder with the model whose output layer is the labels alone; a whole vocabulary is never computed."""
    from analyzer.importing.output_layer import label_rows, with_output  # noqa: PLC0415 - loads the import tools

    output = revision.manifest.output
    if output.kind == "tokens" and output.token_ids == found.labels:
        return revision.path, output.merge
    if output.kind != "vocabulary":
        raise LoadError(f"revision {revision.name} has neither a head nor its language-model head; import it again")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analyzer-labels-")))
    rows = label_rows(revision.path, found.labels)
    made = with_output(revision.path, folder, rows, kind="tokens", token_ids=found.labels)
    return folder, made.merge


def engine_of(model: Model) -> Engine:
    """Returns the engine of a model made here, for calls that block."""
    assert isinstance(model.scorer, Engine)  # noqa: S101 - made by assembled
    return model.scorer
