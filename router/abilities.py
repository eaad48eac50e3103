"""From predictions at the three reference abilities to a prediction for a tier."""

from collections.abc import Callable

from router.analysis import Task
from router.request import Tier

Recalibration = Callable[[Tier, Task, float], float]
"""Turns predicted success at a tier's ability into success as observed, never decreasing in the prediction."""


def unchanged(_tier: Tier, _task: Task, predicted: float) -> float:
    """Recalibrates nothing: what a policy without outcomes knows."""
    return predicted


def success_at(ability: float, success: tuple[float, float, float]) -> float:
    """Returns success at an ability from 0 to 2, on straight lines between the reference abilities 0, 1 and 2."""
    place = min(max(ability, 0.0), 2.0)
    left = min(int(place), 1)
    return success[left] + (place - left) * (success[left + 1] - success[left])
