"""What a measured engine does: one forward pass over a batch."""

from collections.abc import Callable
from dataclasses import dataclass

Batch = list[list[int]]


@dataclass(frozen=True)
class Pass:
    """Mean head scores, one list a prompt (empty where the engine gives none), and its own time where it keeps one."""

    scores: list[list[float]]
    milliseconds: float | None = None


Forward = Callable[[Batch], Pass]
