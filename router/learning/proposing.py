"""From evidence to a proposal: recalibrated predictions, and the threshold that goes with them.

A proposal moves in bounded steps from the policy that serves. What its curves are fitted to is neither what they are
checked on nor what the threshold's bound is computed on.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from router.learning.bound import DELTA
from router.learning.evidence import Case, Evidence, Outcome, predicted_success, raw_success
from router.learning.recalibration import Observation, RecalibrationSettings, recalibrate
from router.learning.replay import mean_costs, mean_quality, thresholds_between
from router.learning.shortfall import Shortfall, shortfall
from router.policy import Policy
from servicekit.errors import FailedPrecondition


@dataclass(frozen=True)
class Objective:
    """What a policy is fitted for: a share of the top tier's quality at least cost, or best quality within a cost.

    With a mean cost (micro-dollars a request) the quality target only says what the bound is about.
    """

    quality_target: float = 0.95
    mean_cost_micros: float | None = None


@dataclass(frozen=True)
class ProposalSettings:
    """When there is enough to learn from, and how far one proposal goes."""

    outcomes_min: int = 200
    pairs_min: int = 100
    held_out_share: float = 0.3
    held_out_tolerance: float = 0.005
    threshold_step: float = 0.05
    threshold_min: float = 0.5
    delta: float = DELTA
    recalibration: RecalibrationSettings = field(default_factory=RecalibrationSettings)


@dataclass(frozen=True)
class Check:
    """How the predictions did on outcomes they were not fitted to: mean squared errors (Brier, 1950), new and old."""

    outcomes: int
    error: float
    error_before: float
    passed: bool


@dataclass(frozen=True)
class Proposal:
    """A policy to be promoted, and what speaks for it.

    `failure_bound` bounds, at 95 % confidence, the share of the top tier's quality that is missed: one less the quality
    target where `certified`; None with too few pairs to say.
    """

    policy: Policy
    objective: Objective
    outcome_count: int
    failure_bound: float | None
    certified: bool
    check: Check


def propose(
    evidence: Evidence, serving: Policy, objective: Objective, revision: str, settings: ProposalSettings | None = None
) -> Proposal:
    """Returns a policy fitted to the evidence. Raises FailedPrecondition when there is too little of it."""
    settings = settings or ProposalSettings()
    count = len(evidence.outcomes) + len(evidence.pairs)
    if count < settings.outcomes_min:
        missing = settings.outcomes_min - count
        raise FailedPrecondition(
            "TOO_FEW_OUTCOMES",
            f"{count} outcomes are not enough to learn from: {missing} more are needed, reported or from shadow pairs.",
        )
    fitted, held_out = split(evidence.outcomes, settings.held_out_share)
    curves = recalibrate(observations(fitted, serving), serving.recalibrate, settings.recalibration)
    candidate = replace(serving, revision=revision, recalibrate=curves if fitted else serving.recalibrate)
    threshold, bound, certified = _threshold(evidence, candidate, objective, settings)
    return Proposal(
        policy=replace(candidate, quality_target=threshold),
        objective=objective,
        outcome_count=count,
        failure_bound=bound,
        certified=certified,
        check=check(held_out, candidate, serving, settings.held_out_tolerance),
    )


def split(outcomes: Sequence[Outcome], held_out_share: float) -> tuple[list[Outcome], list[Outcome]]:
    """Returns the outcomes to fit to and those to check on; a request's name decides, the same way every time."""
    fitted: list[Outcome] = []
    held_out: list[Outcome] = []
    for each in outcomes:
        (held_out if _place(each.case.request_id) < held_out_share else fitted).append(each)
    return fitted, held_out


def _place(name: str) -> float:
    """Returns a number from 0 to 1 that depends on the name alone."""
    return zlib.crc32(name.encode()) / 2**32


def observations(outcomes: Sequence[Outcome], policy: Policy) -> list[Observation]:
    """Returns what was predicted at the tier's ability, before any recalibration, and what came of it."""
    return [
        Observation(each.case.tenant, each.tier, each.case.task, raw_success(each.case, each.tier, policy), each.score)
        for each in outcomes
    ]


def check(held_out: Sequence[Outcome], candidate: Policy, serving: Policy, tolerance: float) -> Check:
    """Returns how the candidate predicts outcomes it has not seen; it passes unless it does worse than before."""
    after, before = _error(held_out, candidate), _error(held_out, serving)
    return Check(len(held_out), after, before, passed=after <= before + tolerance)


def _error(outcomes: Sequence[Outcome], policy: Policy) -> float:
    if not outcomes:
        return 0.0
    return sum((predicted_success(each.case, each.tier, policy) - each.score) ** 2 for each in outcomes) / len(outcomes)


def _threshold(
    evidence: Evidence, candidate: Policy, objective: Objective, settings: ProposalSettings
) -> tuple[float, float | None, bool]:
    """Returns the threshold within a step that meets the objective, its bound if there is one, and if it is met."""
    thresholds = _within_step(candidate.quality_target, settings)
    lost = None
    if len(evidence.pairs) >= settings.pairs_min:
        lost = shortfall(evidence.pairs, candidate, evidence.tiers, thresholds, objective.quality_target)
    cases = evidence.cases or tuple(each.case for each in evidence.outcomes)
    if objective.mean_cost_micros is not None:
        threshold = _dearest_within(objective.mean_cost_micros, cases, candidate, evidence, thresholds)
    elif lost is None:
        threshold = _cheapest_predicted(objective.quality_target, cases, candidate, evidence, thresholds)
    else:
        return _proven(lost, thresholds, settings.delta)
    return threshold, None if lost is None else lost.upper_bound(threshold, settings.delta), False


def _proven(lost: Shortfall, thresholds: tuple[float, ...], delta: float) -> tuple[float, float, bool]:
    """Returns the lowest threshold shown to be good enough; the highest, with its bound, when none is."""
    safe = lost.lowest_safe(delta)
    if safe is None:
        return thresholds[-1], lost.upper_bound(thresholds[-1], delta), False
    return safe, 1.0 - lost.quality_target, True


def _within_step(threshold: float, settings: ProposalSettings) -> tuple[float, ...]:
    low = max(threshold - settings.threshold_step, settings.threshold_min)
    return thresholds_between(min(low, threshold), min(threshold + settings.threshold_step, 1.0))


def _dearest_within(
    mean_cost_micros: float, cases: Sequence[Case], candidate: Policy, evidence: Evidence, thresholds: tuple[float, ...]
) -> float:
    costs = mean_costs(cases, candidate, evidence.tiers, thresholds)
    if not costs:
        raise FailedPrecondition("PRICES_UNKNOWN", "No recorded request has the prices of all tiers to plan a cost by.")
    affordable = [each for each, cost in zip(thresholds, costs, strict=True) if cost <= mean_cost_micros]
    return max(affordable, default=thresholds[0])


def _cheapest_predicted(
    target: float, cases: Sequence[Case], candidate: Policy, evidence: Evidence, thresholds: tuple[float, ...]
) -> float:
    quality = mean_quality(cases, candidate, evidence.tiers, thresholds)
    good = [each for each, share in zip(thresholds, quality, strict=False) if share >= target]
    return min(good, default=thresholds[-1])
