"""Times single forward passes of a model on this machine."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from analyzer.adapters import runtime

_WARM_UP = 5
_ROUNDS = 3
_PASSES = 60
_BUDGET_S = 8.0


def measure_p99_ms(
    folder: Path, *, tokens: int = 64, threads: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Returns the p99 in ms of one prompt of `tokens` tokens: the best of three rounds, within 8 seconds or so.

    A burst of some other process inflates one round; a model that is too slow is so in each.
    """
    runtime.prepare()
    ctranslate2: Any = import_module("ctranslate2")  # only after the runtime is prepared
    generator = ctranslate2.Generator(str(folder), device="cpu", intra_threads=threads or usable_cores())
    prompt = [[1 + index for index in range(tokens)]]

    def one_pass() -> float:
        before = clock()
        generator.forward_batch(prompt)
        return (clock() - before) * 1000

    first_ms = max(min(one_pass() for _ in range(_WARM_UP)), 0.001)
    passes = max(3, min(_PASSES, int(_BUDGET_S * 1000 / first_ms / _ROUNDS)))
    return min(percentile([one_pass() for _ in range(passes)], 0.99) for _ in range(_ROUNDS))


def percentile(values: list[float], share: float) -> float:
    """Returns the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def usable_cores() -> int:
    """Returns how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
