"""The engine: forward passes of one model by CTranslate2, in one thread, beside the event loop.

The process must be prepared (`analyzer.adapters.runtime`) before the first engine is made.
"""

from __future__ import annotations

import asyncio
import enum
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.float32]
_NICENESS = 5

Merge = Callable[[Sequence[float]], list[float]]


class EngineError(Exception):
    """A model that can't be loaded, or gives numbers that are none; the message says which."""


class Pooling(enum.Enum):
    """Which positions of a prompt count."""

    MEAN = "mean"
    """All, averaged: what a trained head reads."""

    LAST = "last"
    """The last one: what follows the prompt."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a model is loaded."""

    threads: int
    pooling: Pooling
    compute_type: str = "int8"


class Engine:
    """One model in memory. Its thread ends when nothing refers to the engine any more."""

    def __init__(self, revision: str, folder: Path, merge: Merge, settings: EngineSettings) -> None:
        self.revision = revision
        self._merge = merge
        self._settings = settings
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine", initializer=_give_way)
        weakref.finalize(self, self._thread.shutdown, wait=False)
        self._generator = self._thread.submit(_load, folder, settings).result()

    def __repr__(self) -> str:
        return f"<Engine {self.revision}: {self._settings.threads} threads, {self._settings.pooling.value}>"

    async def score(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Returns the raw scores of each prompt (token ids, at least one each): one number per output row."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.score_now, batch)

    def score_now(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """The same, in the thread of the caller, which it blocks. Raises EngineError when a score is no number."""
        columns: Columns = np.asarray(self._generator.forward_batch([list(prompt) for prompt in batch]))
        pooled = [self._pooled(each, len(prompt)) for each, prompt in zip(columns, batch, strict=True)]
        scores = [self._merge(each.tolist()) for each in pooled]
        if not np.isfinite(scores).all():
            raise EngineError(f"revision {self.revision} gave scores that are no numbers")
        return scores

    def _pooled(self, columns: Columns, length: int) -> Columns:
        """Returns one prompt's columns, positions of padding left out."""
        if self._settings.pooling is Pooling.LAST:
            last: Columns = columns[length - 1]
            return last
        mean: Columns = columns[:length].mean(axis=0)
        return mean


def _give_way() -> None:
    """Lets the event loop go before the engine where they share cores: a refusal must not wait for a forward pass.

    The threads that the library starts from this one inherit its priority. On Linux alone, where threads have one each.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _load(folder: Path, settings: EngineSettings) -> Any:
    ctranslate2: Any = import_module("ctranslate2")  # only now: the process has to be prepared before
    try:
        return ctranslate2.Generator(
            str(folder),
            device="cpu",
            compute_type=settings.compute_type,
            inter_threads=1,
            intra_threads=settings.threads,
            max_queued_batches=-1,
        )
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"the model in {folder} can't be loaded: {error}") from error
