"""Which number of threads and which size of a batch suit this machine: chosen from measured passes, remembered by CPU.

A second core that others use makes two threads slower than one: only a measurement can tell. Measuring takes some
seconds, at most about twenty; what was found is kept in the state folder, by CPU, cores and revision.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

SINGLE_TOKENS = 64
BATCH_SIZES = (1, 2, 4, 8, 16)
_LONGEST_SECONDS = 20.0
_PASSES = 12
_BATCH_PASSES = 3
_WORTH = 0.95  # a bigger batch has to be at least this much better, because everybody in it waits for all
_LONGEST_PASS_SECONDS = 0.06  # callers give about 100 ms: a pass must leave room for one that is under way
_HASTY = 0.6
_LEAST_TOKENS = 256  # four prompts of the usual length


class Measured(Protocol):
    """An engine to time."""

    def score_now(self, batch: Sequence[Sequence[int]]) -> object:
        """Makes one pass."""
        ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """What suits a machine."""

    threads: int
    tokens_a_batch: int
    single_seconds: float
    """Median of 64 tokens alone, with these threads."""


def candidates(cores: int) -> tuple[int, ...]:
    """Returns the numbers of threads worth a try: one, all, and in between by halves."""
    steps = {max(1, cores // divisor) for divisor in (1, 2, 4)} | {1}
    return tuple(sorted(steps))


def tuned(cores: int, open_engine: Callable[[int], Measured], clock: Callable[[], float] = time.perf_counter) -> Tuning:
    """Times passes; returns the threads with the best slow tenth, and the batch with the best yield."""
    ends = clock() + _LONGEST_SECONDS
    best: tuple[float, int, Measured] | None = None
    for threads in candidates(cores):
        engine = open_engine(threads)
        slow = _slow_tenth(_times(engine, 1, _PASSES, clock))
        if best is None or slow < best[0]:
            best = (slow, threads, engine)
        if clock() > ends - _LONGEST_SECONDS / 2:
            break
    assert best is not None  # noqa: S101 - there is always one candidate
    _, threads, engine = best
    rates = list(_rates(engine, clock, ends))
    single_seconds = SINGLE_TOKENS / rates[0][1]
    return Tuning(threads, _worthwhile(rates), single_seconds)


def recall(path: Path) -> Tuning | None:
    """Returns what was found before; None when nothing was, or it can't be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Tuning(int(found["threads"]), int(found["tokens_a_batch"]), float(found["single_seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(path: Path, tuning: Tuning) -> bool:
    """Keeps what was found; returns False where nothing can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(tuning)) + "\n", encoding="utf-8")
    except OSError:
        return False
    return True


def forget_if_hasty(path: Path, tuning: Tuning, seconds: float) -> bool:
    """Forgets what was measured while others used the cores, and returns True: passes now take much less than then."""
    hasty = seconds < _HASTY * tuning.single_seconds
    if hasty:
        path.unlink(missing_ok=True)
    return hasty


def _rates(engine: Measured, clock: Callable[[], float], ends: float) -> Iterable[tuple[int, float]]:
    """Yields tokens of a batch and tokens a second."""
    for size in BATCH_SIZES:
        seconds = median(_times(engine, size, _BATCH_PASSES, clock))
        yield size * SINGLE_TOKENS, size * SINGLE_TOKENS / max(seconds, 1e-9)
        if clock() > ends:
            return


def _worthwhile(rates: Sequence[tuple[int, float]]) -> int:
    """Returns the smallest batch that yields nearly as much as the best one, of those that end soon enough."""
    soon = [(tokens, rate) for tokens, rate in rates if tokens / rate <= _LONGEST_PASS_SECONDS] or rates[:1]
    most = max(rate for _, rate in soon)
    return max(_LEAST_TOKENS, next(tokens for tokens, rate in soon if rate >= _WORTH * most))


def _times(engine: Measured, size: int, passes: int, clock: Callable[[], float]) -> list[float]:
    batch = [[1 + index % 97 for index in range(SINGLE_TOKENS)]] * size
    engine.score_now(batch)  # pays for allocation
    times = []
    for _ in range(passes):
        started = clock()
        engine.score_now(batch)
        times.append(clock() - started)
    return times


def _slow_tenth(times: Sequence[float]) -> float:
    return sorted(times)[math.ceil(0.9 * len(times)) - 1]
