"""Threads and batch size are chosen by what passes take, within a bounded time, and remembered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyzer.tuning import SINGLE_TOKENS, Tuning, candidates, forget_if_hasty, recall, remember, tuned


@dataclass
class Clock:
    """Time that passes only where passes are made."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class Machine:
    """A machine with a given speed a number of threads: seconds a pass, and a token."""

    clock: Clock
    seconds: dict[int, tuple[float, float]]

    def open(self, threads: int) -> "Engine":
        """An engine with so many threads."""
        return Engine(self.clock, *self.seconds[threads])


@dataclass
class Engine:
    """An engine of known speed."""

    clock: Clock
    base: float
    token: float

    def score_now(self, batch: Sequence[Sequence[int]]) -> object:
        """Lets the time pass."""
        self.clock.now += self.base + self.token * len(batch) * SINGLE_TOKENS
        return None


@pytest.mark.parametrize(("cores", "expected"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (16, (1, 4, 8, 16))])
def test_candidates_are_one_all_and_halves(cores: int, expected: tuple[int, ...]) -> None:
    """Few enough to try."""
    assert candidates(cores) == expected


@pytest.mark.parametrize(("two", "threads"), [((0.004, 0.0001), 2), ((0.02, 0.0004), 1)])
def test_a_second_thread_is_used_where_it_helps(two: tuple[float, float], threads: int) -> None:
    """And not where the core is somebody else's."""
    clock = Clock()
    machine = Machine(clock, {1: (0.008, 0.0002), 2: two})
    found = tuned(2, machine.open, clock)
    assert found.threads == threads
    base, token = machine.seconds[threads]
    assert found.single_seconds == pytest.approx(base + 64 * token)


def test_a_batch_is_no_bigger_than_it_pays() -> None:
    """Everybody in it waits for all."""
    clock = Clock()
    flat = tuned(1, Machine(clock, {1: (0.0, 0.0001)}).open, clock)
    steep = tuned(1, Machine(clock, {1: (0.01, 0.00001)}).open, clock)
    slow = tuned(1, Machine(clock, {1: (0.01, 0.0001)}).open, clock)
    assert flat.tokens_a_batch == 256
    assert steep.tokens_a_batch == 1024
    assert slow.tokens_a_batch == 256  # 512 tokens would take more than 60 ms


def test_a_slow_machine_is_not_measured_for_ever() -> None:
    """Twenty seconds, and the passes that were under way."""
    clock = Clock()
    tuned(16, Machine(clock, dict.fromkeys((1, 4, 8, 16), (0.5, 0.01))).open, clock)
    assert clock.now < 60


def test_what_was_found_is_found_again(tmp_path: Path) -> None:
    """Damaged or missing files are measured anew."""
    path = tmp_path / "state" / "tuning.json"
    assert recall(path) is None
    assert remember(path, Tuning(2, 512, 0.012))
    assert recall(path) == Tuning(2, 512, 0.012)
    path.write_text("{")
    assert recall(path) is None
    assert not remember(tmp_path / "state" / "tuning.json" / "x", Tuning(1, 256, 0.1))


def test_what_was_measured_on_a_busy_machine_is_forgotten_when_it_is_quiet(tmp_path: Path) -> None:
    """One thread for good, because somebody compiled something once, would be a pity."""
    path, busy = tmp_path / "tuning.json", Tuning(1, 256, 0.05)
    remember(path, busy)
    assert not forget_if_hasty(path, busy, 0.04)
    assert recall(path) == busy
    assert forget_if_hasty(path, busy, 0.012)
    assert recall(path) is None
