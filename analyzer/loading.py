"""From a revision on disk to a model that answers: checked, loaded, warmed, compared with its golden prompts.

A part of the composition root.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from analyzer.adapters import runtime
from analyzer.adapters.engine import EngineError
from analyzer.adapters.modelstore import ModelStore, ModelStoreError, Revision
from analyzer.adapters.tokenizer import TokenizerError
from analyzer.analysis import Ability
from analyzer.assembling import LoadError, assembled, engine_of
from analyzer.conversation import Message
from analyzer.framing import Frame
from analyzer.labels import UnsuitableTokenizerError
from analyzer.models import Judge, Model
from analyzer.tuning import Tuning, forget_if_hasty, recall, remember, tuned

GOLDEN_TOLERANCE = 0.03
"""Most by which a predicted success of a golden prompt may differ from the recorded one."""

_WARM_LENGTHS = (16, 64, 128)
_TIMED_LENGTH = 64
_TIMED_PASSES = 20

_log = structlog.get_logger(__name__)


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

    tuning: Tuning | None = None
    """What suits this machine, where it was measured and not configured."""


class ModelLoader:
    """Loads revisions of one store. Its calls block for seconds: never from the event loop."""

    def __init__(
        self,
        store: ModelStore,
        threads: int | None,
        state: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._threads = threads
        self._state = state
        self._clock = clock

    @property
    def store(self) -> ModelStore:
        """Where the revisions are."""
        return self._store

    def load(self, name: str | None = None) -> Loaded:
        """Returns a revision (the active one when None), loaded and checked; raises ModelStoreError or LoadError."""
        revision = self._store.verify(name)
        report = runtime.prepare(runtime.RuntimeSettings(instruction_set=revision.manifest.instruction_set))
        try:
            tuning = self._tuning(revision, report.cpu.key) if self._threads is None else None
            threads = self._threads or (tuning.threads if tuning else own_cores())
            _log.info("runtime", threads=threads, measured=tuning is not None, found=str(report))
            model = assembled(revision, threads)
            passes = self._warm(model)
        except (EngineError, TokenizerError, UnsuitableTokenizerError) as error:
            raise LoadError(f"revision {revision.name}: {error}") from error
        _check_golden(revision, model)
        timed = sorted(each.seconds for each in passes[-_TIMED_PASSES:])
        if tuning is not None:
            self._reconsider(revision, report.cpu.key, tuning, timed[len(timed) // 2])
        return Loaded(model, tuple(passes), timed[-1], tuning)

    def _tuning(self, revision: Revision, cpu: str) -> Tuning | None:
        """Returns what suits this machine, measured once a revision; None where no state folder is."""
        if self._state is None:
            return None
        path = self._tuning_path(revision, cpu)
        if (known := recall(path)) is not None:
            return known
        found = tuned(own_cores(), lambda threads: engine_of(assembled(revision, threads)), self._clock)
        if not remember(path, found):
            _log.warning("what suits this machine can't be kept and is measured at every start", state=str(path.parent))
        return found

    def _reconsider(self, revision: Revision, cpu: str, tuning: Tuning, median_seconds: float) -> None:
        if forget_if_hasty(self._tuning_path(revision, cpu), tuning, median_seconds):
            _log.warning("threads were chosen while others used the cores; the next start measures again")

    def _tuning_path(self, revision: Revision, cpu: str) -> Path:
        return (self._state or Path()) / "tuning" / f"{cpu}-{own_cores()}-{revision.name}.json"

    def _warm(self, model: Model) -> list[PassMeasured]:
        engine = engine_of(model)
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


def state_folder(environment: Mapping[str, str]) -> Path:
    """Returns TINYROUTE_STATE, or the `tinyroute` folder of the user's state directory."""
    if chosen := environment.get("TINYROUTE_STATE"):
        return Path(chosen)
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "tinyroute"


def _check_golden(revision: Revision, model: Model) -> None:
    """Raises LoadError when the model no longer says of its golden prompts what it said when it was made."""
    engine, judge = engine_of(model), model.judge
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
