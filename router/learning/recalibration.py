"""From predicted success at a tier's ability to observed success: a rising curve a tier, or a task with enough data."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from router.abilities import Recalibration
from router.analysis import Task
from router.learning.isotonic import Bin, Curve, fit_rising
from router.learning.weights import capped
from router.request import Tier


@dataclass(frozen=True, slots=True)
class Observation:
    """A prediction and what came of it, both 0 to 1."""

    tenant: str
    tier: Tier
    task: Task
    predicted: float
    score: float


@dataclass(frozen=True)
class RecalibrationSettings:
    """How fast curves follow observations.

    The prior counts as `prior_weight` outcomes in each bin: ten of them move a prediction by 0.1 at most. A tenant has
    at most `tenant_share` of the weight in a bin, so whatever it reports moves no prediction by more than that.
    """

    bins: int = 20
    prior_weight: float = 90.0
    task_outcomes_min: int = 300
    tenant_share: float = 0.2
    step: float = 0.1


@dataclass(frozen=True)
class Curves:
    """A recalibration as the policy's hook takes it. A task without a curve of its own has its tier's, if any."""

    by_tier: Mapping[Tier, Curve] = field(default_factory=dict)
    by_task: Mapping[tuple[Tier, Task], Curve] = field(default_factory=dict)

    def __call__(self, tier: Tier, task: Task, predicted: float) -> float:
        """Returns success as observed."""
        curve = (self.by_task.get((tier, task)) if self.by_task else None) or self.by_tier.get(tier)
        return predicted if curve is None else curve(predicted)


def recalibrate(observations: Sequence[Observation], serving: Recalibration, settings: RecalibrationSettings) -> Curves:
    """Returns curves fitted to the observations, none further than a step from the serving one.

    The prior of a tier's curve is the prediction itself, that of a task's curve its tier's curve.
    """
    share = tenant_share(observations, settings.tenant_share)
    tiers: dict[Tier, list[Observation]] = defaultdict(list)
    tasks: dict[tuple[Tier, Task], list[Observation]] = defaultdict(list)
    for each in observations:
        tiers[each.tier].append(each)
        tasks[each.tier, each.task].append(each)
    by_tier, by_task = _kept(serving)
    for tier, seen in tiers.items():
        fitted = _fit(seen, _same, share, settings)
        by_tier[tier] = _within_step(fitted, partial(serving, tier, Task.UNSPECIFIED), settings.step)
        for (of, task), seen_of_task in tasks.items():
            if of is tier and len(seen_of_task) >= settings.task_outcomes_min:
                special = _fit(seen_of_task, fitted, share, settings)
                by_task[tier, task] = _within_step(special, partial(serving, tier, task), settings.step)
    return Curves(by_tier, by_task)


def _kept(serving: Recalibration) -> tuple[dict[Tier, Curve], dict[tuple[Tier, Task], Curve]]:
    """Returns the serving curves: a tier that nobody reports on any more keeps its own."""
    return (dict(serving.by_tier), dict(serving.by_task)) if isinstance(serving, Curves) else ({}, {})


def tenant_share(observations: Sequence[Observation], at_most: float) -> float:
    """Returns the largest share of a bin that one tenant may have: a tenant alone steers nobody but itself."""
    tenants = len({each.tenant for each in observations})
    return max(at_most, 1.0 / tenants) if tenants else 1.0


def _fit(
    seen: Sequence[Observation], prior: Callable[[float], float], share: float, settings: RecalibrationSettings
) -> Curve:
    width = 1.0 / settings.bins
    bins = [Bin((i + 0.5) * width, prior((i + 0.5) * width), settings.prior_weight) for i in range(settings.bins)]
    members: list[list[Observation]] = [[] for _ in bins]
    for each in seen:
        members[min(int(each.predicted * settings.bins), settings.bins - 1)].append(each)
    for place, inside in zip(bins, members, strict=True):
        counts: dict[str, int] = defaultdict(int)
        for each in inside:
            counts[each.tenant] += 1
        weights = capped(counts, settings.prior_weight, share)
        for each in inside:
            # The prediction's place within the bin is not the observation's doing: take it out of the score.
            place.add(each.score - prior(each.predicted) + prior(place.x), weights[each.tenant] / counts[each.tenant])
    return fit_rising(bins)


def _within_step(curve: Curve, before: Callable[[float], float], step: float) -> Curve:
    """Returns the curve, held to a band around the one before; what rises stays rising."""
    return Curve(tuple((x, min(max(y, before(x) - step, 0.0), before(x) + step, 1.0)) for x, y in curve.knots))


def _same(x: float) -> float:
    return x
