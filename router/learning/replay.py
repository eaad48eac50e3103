"""What thresholds would have cost and won on recorded traffic, with intervals."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from router.learning.evidence import Case, predicted_success, reaches
from router.learning.stepwise import Steps, mean_curve, steps
from router.policy import Policy
from router.request import Tier


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ReplayPoint:
    """One threshold on recorded traffic.

    Micro-dollars a request, share saved against always using the top tier, predicted quality as a share of its.
    """

    threshold: float
    mean_cost_micros: Interval
    saved_share: Interval
    quality_share: Interval


@dataclass(frozen=True)
class ReplaySettings:
    """How intervals are made: percentile bootstrap (Efron, 1979)."""

    resamples: int = 200
    confidence: float = 0.95
    cases_max: int = 2000
    seed: int = 0


def thresholds_between(low: float, high: float, step: float = 0.005) -> tuple[float, ...]:
    """Returns rising thresholds from `low` to `high`, both included, `step` or a little less apart."""
    count = max(round((high - low) / step), 1)
    return tuple(round(low + (high - low) * i / count, 6) for i in range(count + 1))


def replay(
    cases: Sequence[Case],
    policy: Policy,
    tiers: tuple[Tier, ...],
    thresholds: tuple[float, ...],
    settings: ReplaySettings | None = None,
) -> tuple[ReplayPoint, ...]:
    """Returns a point for each threshold; none when no case has all its prices."""
    settings = settings or ReplaySettings()
    priced = [case for case in cases if all(tier in case.costs for tier in tiers)]
    if not priced:
        return ()
    draw = random.Random(settings.seed)  # noqa: S311 - statistics, no secret
    if len(priced) > settings.cases_max:
        priced = draw.sample(priced, settings.cases_max)
    parts = [_parts(case, policy, tiers, thresholds) for case in priced]
    width = len(thresholds)
    whole = _figures(parts, width)
    resampled = [_figures(draw.choices(parts, k=len(parts)), width) for _ in range(settings.resamples)]
    return tuple(
        ReplayPoint(
            threshold,
            *(
                _interval(whole[figure][i], [each[figure][i] for each in resampled], settings.confidence)
                for figure in range(3)
            ),
        )
        for i, threshold in enumerate(thresholds)
    )


def mean_costs(
    cases: Sequence[Case], policy: Policy, tiers: tuple[Tier, ...], thresholds: tuple[float, ...]
) -> list[float]:
    """Returns micro-dollars a request at each threshold; empty when no case has all its prices."""
    parts = [
        _cost_part(case, reaches(case, policy, tiers), tiers, thresholds)
        for case in cases
        if all(tier in case.costs for tier in tiers)
    ]
    return mean_curve(parts, len(thresholds)) if parts else []


def mean_quality(
    cases: Sequence[Case], policy: Policy, tiers: tuple[Tier, ...], thresholds: tuple[float, ...]
) -> list[float]:
    """Returns predicted quality as a share of the top tier's at each threshold; empty when there is no case."""
    parts = [_quality_part(case, reaches(case, policy, tiers), policy, tiers, thresholds) for case in cases]
    top = sum(part.base for part in parts)
    return [mean * len(parts) / top for mean in mean_curve(parts, len(thresholds))] if top else []


Parts = tuple[Steps, Steps]


def _parts(case: Case, policy: Policy, tiers: tuple[Tier, ...], thresholds: tuple[float, ...]) -> Parts:
    reach = reaches(case, policy, tiers)
    return _cost_part(case, reach, tiers, thresholds), _quality_part(case, reach, policy, tiers, thresholds)


def _cost_part(case: Case, reach: Sequence[float], tiers: tuple[Tier, ...], thresholds: tuple[float, ...]) -> Steps:
    return _falling([case.costs[tier] for tier in tiers], reach, thresholds)


def _quality_part(
    case: Case, reach: Sequence[float], policy: Policy, tiers: tuple[Tier, ...], thresholds: tuple[float, ...]
) -> Steps:
    return _falling([predicted_success(case, tier, policy) for tier in tiers], reach, thresholds)


def _falling(values: Sequence[float], reach: Sequence[float], thresholds: tuple[float, ...]) -> Steps:
    """Returns a request's part when it is worth `values` at each tier: the top one's, less at each step down."""
    deltas = [(at, here - above) for at, here, above in zip(reach, values, values[1:], strict=False)]
    return steps(values[-1], deltas, thresholds)


def _figures(parts: Sequence[Parts], width: int) -> tuple[list[float], list[float], list[float]]:
    costs = mean_curve([cost for cost, _ in parts], width)
    quality = mean_curve([gain for _, gain in parts], width)
    top_cost = sum(cost.base for cost, _ in parts) / len(parts)
    top_quality = sum(gain.base for _, gain in parts) / len(parts)
    saved = [1.0 - cost / top_cost if top_cost else 0.0 for cost in costs]
    return costs, saved, [each / top_quality if top_quality else 1.0 for each in quality]


def _interval(value: float, resampled: list[float], confidence: float) -> Interval:
    ordered = sorted(resampled) or [value]
    tail = (1.0 - confidence) / 2.0
    last = len(ordered) - 1
    return Interval(value, ordered[round(tail * last)], ordered[round((1.0 - tail) * last)])
