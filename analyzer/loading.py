"""From a revision on disk to a model that answers: checked, loaded, warmed, compared with its golden prompts.

A part of the composition root: it puts the store, the tokenizer, the engine and the judge of one revision together.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from analyzer.adapters import runtime
from analyzer.adapters.engine import Engine, EngineError, EngineSettings, Pooling
from analyzer.adapters.modelstore import ModelStore, ModelStoreError, Revision
from analyzer.adapters.tokenizer import Tokenizer, TokenizerError, open_tokenizer
from analyzer.analysis import Ability
from analyzer.conversation import Message
from analyzer.framing import Frame, frame_prompt
from analyzer.judging import Calibration, HeadJudge
from analyzer.labels import LabelJudge, Rubric, UnsuitableTokenizerError, content_free_frame, labelled_frame, rubric
from analyzer.models import Judge, Model

GOLDEN_TOLERANCE = 0.03
"""Most by which a predicted success of a golden prompt may differ from the recorded one."""

_WARM_LENGTHS = (16, 64, 128)
_TIMED_LENGTH = 64
_TIMED_PASSES = 20

_log = structlog.get_logger(__name__)


class LoadError(Exception):
    """A revision that can't serve; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PassMeasured:
    """One pass of the warm-up."""

    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to answer, and what its warm-up showed."""

    model: Model
    passes: tuple[PassMeasured, ...]
    p99_seconds: float
    """Of 64 tokens alone, on this machine."""


class ModelLoader:
    """Loads revisions of one store. Its calls block for seconds: never from the event loop."""

    def __init__(self, store: ModelStore, threads: int | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._store = store
        self._threads = threads or own_cores()
        self._clock = clock

    @property
    def store(self) -> ModelStore:
        """Where the revisions are."""
        return self._store

    def load(self, name: str | None = None) -> Loaded:
        """Returns a revision (the active one when None), loaded and checked; raises ModelStoreError or LoadError."""
        revision = self._store.verify(name)
        report = runtime.prepare(runtime.RuntimeSettings(instruction_set=revision.manifest.instruction_set))
        _log.info("runtime", threads=self._threads, found=str(report))
        try:
            model = _assembled(revision, self._threads)
            passes = self._warm(model)
        except (EngineError, TokenizerError, UnsuitableTokenizerError) as error:
            raise LoadError(f"revision {revision.name}: {error}") from error
        _check_golden(revision, model)
        timed = sorted(each.seconds for each in passes[-_TIMED_PASSES:])
        return Loaded(model, tuple(passes), timed[-1])

    def _warm(self, model: Model) -> list[PassMeasured]:
        engine = model.scorer
        assert isinstance(engine, Engine)  # noqa: S101 - made by _assembled
        lengths = (*_WARM_LENGTHS, *_WARM_LENGTHS, *[_TIMED_LENGTH] * _TIMED_PASSES)
        passes = []
        for length in lengths:
            started = self._clock()
            engine.score_now([[1 + index % 97 for index in range(length)]])
            passes.append(PassMeasured(length, self._clock() - started))
        return passes[len(_WARM_LENGTHS) :]  # the first ones pay for allocation


def own_cores() -> int:
    """Returns how many cores this process really has: by affinity, and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.floor(int(quota) / int(period))))


def _assembled(revision: Revision, threads: int) -> Model:
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


def _check_golden(revision: Revision, model: Model) -> None:
    """Raises LoadError when the model no longer says of its golden prompts what it said when it was made."""
    engine, judge = model.scorer, model.judge
    assert isinstance(engine, Engine)  # noqa: S101 - made by _assembled
    for golden in revision.manifest.golden:
        frame = model.frame([Message("user", golden.prompt)])
        off = _difference(judge, frame, engine.score_now([frame.token_ids])[0], golden.scores)
        if off > GOLDEN_TOLERANCE:
            raise LoadError(
                f"revision {revision.name} fails a golden prompt: predicted success is off by {off:.3f}, "
                f"allowed is {GOLDEN_TOLERANCE}; import or train it again on this machine"
            )


def _difference(judge: Judge, frame: Frame, scores: Sequence[float], recorded: Sequence[float]) -> float:
    now, then = judge.judge(scores, frame), judge.judge(recorded, frame)
    return max(abs(now.success[ability] - then.success[ability]) for ability in Ability)


LOAD_ERRORS = (LoadError, ModelStoreError)
