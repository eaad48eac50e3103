"""Predictions follow observations, none too fast and none for one tenant alone."""

import pytest

from router.abilities import unchanged
from router.analysis import Task
from router.learning.isotonic import Curve
from router.learning.recalibration import Curves, Observation, RecalibrationSettings, recalibrate
from router.learning.weights import capped
from router.request import Tier

FREE = RecalibrationSettings(step=1.0)
PLACES = [i / 100 for i in range(101)]


def seen(count: int, predicted: float, score: float, tenant: str = "a", task: Task = Task.OTHER) -> list[Observation]:
    """So many observations alike."""
    return [Observation(tenant, Tier.SMALL, task, predicted, score)] * count


def test_without_observations_nothing_changes() -> None:
    """A new backend is usable from its price and a prior."""
    assert recalibrate([], unchanged, FREE)(Tier.SMALL, Task.MATH, 0.42) == 0.42


def test_ten_outcomes_do_not_swing_it() -> None:
    """Not by more than 0.1, however bad."""
    curves = recalibrate(seen(10, 0.92, 0.0), unchanged, FREE)
    assert max(abs(curves(Tier.SMALL, Task.OTHER, x) - x) for x in PLACES[3:98]) <= 0.1


def test_many_outcomes_do() -> None:
    """A tier that is right six times out of ten is taken for that."""
    mixed = seen(3000, 0.92, 1.0) + seen(2000, 0.92, 0.0)
    curves = recalibrate(mixed, unchanged, FREE)
    assert curves(Tier.SMALL, Task.OTHER, 0.92) == pytest.approx(0.6, abs=0.03)
    assert curves(Tier.MEDIUM, Task.OTHER, 0.92) == 0.92


def test_curves_never_fall() -> None:
    """Whatever is observed."""
    curves = recalibrate(seen(500, 0.3, 1.0) + seen(500, 0.8, 0.0), unchanged, FREE)
    heights = [curves(Tier.SMALL, Task.OTHER, x) for x in PLACES]
    assert heights == sorted(heights)


def test_a_proposal_moves_one_step_at_most() -> None:
    """From the curve that serves."""
    settings = RecalibrationSettings(step=0.1)
    first = recalibrate(seen(5000, 0.92, 0.0), unchanged, settings)
    assert first(Tier.SMALL, Task.OTHER, 0.925) == pytest.approx(0.825)
    second = recalibrate(seen(5000, 0.92, 0.0), first, settings)
    assert second(Tier.SMALL, Task.OTHER, 0.925) == pytest.approx(0.725)


def test_a_task_has_a_curve_of_its_own_where_there_is_enough_data() -> None:
    """Else its tier's."""
    observed = seen(2000, 0.92, 0.0, task=Task.MATH) + seen(2000, 0.92, 1.0, task=Task.WRITING) + seen(5, 0.92, 0.0)
    curves = recalibrate(observed, unchanged, FREE)
    assert curves(Tier.SMALL, Task.MATH, 0.92) < 0.2
    assert curves(Tier.SMALL, Task.WRITING, 0.92) > 0.9
    assert curves(Tier.SMALL, Task.OTHER, 0.92) == curves(Tier.SMALL, Task.UNSPECIFIED, 0.92)


def test_a_tier_nobody_reports_on_keeps_its_curve() -> None:
    """What was learned is not forgotten."""
    before = Curves({Tier.LARGE: Curve(((0.0, 0.0), (1.0, 0.5)))})
    assert recalibrate(seen(10, 0.5, 1.0), before, FREE)(Tier.LARGE, Task.OTHER, 0.8) == 0.4


def test_one_tenant_moves_no_prediction_by_more_than_its_share() -> None:
    """However much it reports."""
    honest = [each for i in range(9) for each in seen(100, 0.92, 0.9, tenant=f"t{i}")]
    without = recalibrate(honest + seen(100, 0.92, 0.9, tenant="liar"), unchanged, FREE)
    lied = recalibrate(honest + seen(100_000, 0.92, 0.0, tenant="liar"), unchanged, FREE)
    moved = max(abs(lied(Tier.SMALL, Task.OTHER, x) - without(Tier.SMALL, Task.OTHER, x)) for x in PLACES)
    assert 0.1 < moved <= FREE.tenant_share


@pytest.mark.parametrize("counts", [{"a": 1000, "b": 10, "c": 10}, {"a": 1000, "b": 900, "c": 1}, {"a": 1}])
def test_weights_are_counts_up_to_the_share(counts: dict[str, int]) -> None:
    """Of all weights and the prior's."""
    weights = capped(counts, 50.0, 0.4)
    whole = 50.0 + sum(weights.values())
    assert all(weight <= 0.4 * whole * 1.001 for weight in weights.values())
    assert all(weights[name] == count for name, count in counts.items() if count < 0.4 * whole)
