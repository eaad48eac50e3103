"""From evidence to a proposal, step by step and never without enough to go by."""

from dataclasses import replace

import numpy as np
import pytest

from router.learning.evidence import Evidence, Outcome
from router.learning.proposing import Objective, ProposalSettings, check, propose, split
from router.learning.recalibration import Curves
from router.policy import Policy
from router.request import Tier
from servicekit.errors import FailedPrecondition
from tests.support.learning_worlds import COSTS, TIERS, World, make_cases, observe

SERVING = Policy("configured", confidence_threshold=0.0)


@pytest.fixture(scope="module")
def seen() -> Evidence:
    """What is recorded of 6,000 requests."""
    return observe(World(), SERVING, 6000, np.random.default_rng(7))


def test_too_few_outcomes_are_refused_with_how_many_are_missing() -> None:
    """Nothing is guessed from a handful."""
    (case,) = make_cases(np.array([0.5]), "r")
    with pytest.raises(FailedPrecondition, match="193 more are needed"):
        propose(Evidence(TIERS, outcomes=(Outcome(case, Tier.SMALL, 1.0),) * 7), SERVING, Objective(), "v")


def test_a_proposal_is_certified_by_pairs_and_says_at_what_level(seen: Evidence) -> None:
    """And names what it was fitted to."""
    made = propose(seen, SERVING, Objective(0.95), "v")
    assert made.certified
    assert made.failure_bound == pytest.approx(0.05)
    assert made.outcome_count == len(seen.outcomes) + len(seen.pairs)
    assert made.check.passed
    assert made.policy.revision == "v"
    assert isinstance(made.policy.recalibrate, Curves)


def test_the_threshold_moves_one_step_at_most(seen: Evidence) -> None:
    """Down when much can be saved, up when a promise can't be kept."""
    assert propose(seen, SERVING, Objective(0.6), "v").policy.quality_target == pytest.approx(0.9)
    doubted = propose(seen, replace(SERVING, quality_target=0.8), Objective(1.0), "v")
    assert doubted.policy.quality_target == pytest.approx(0.85)
    assert not doubted.certified
    assert doubted.failure_bound is not None
    assert doubted.failure_bound > 0.0


def test_without_pairs_predictions_choose_and_nothing_is_promised(seen: Evidence) -> None:
    """The bound is unset."""
    made = propose(replace(seen, pairs=()), SERVING, Objective(0.95), "v")
    assert (made.failure_bound, made.certified) == (None, False)


def test_a_mean_cost_is_kept_at_the_best_quality(seen: Evidence) -> None:
    """The dearest threshold within it; the cheapest when none is."""
    rich = propose(seen, SERVING, Objective(mean_cost_micros=1000.0), "v")
    assert rich.policy.quality_target == pytest.approx(1.0)
    assert rich.failure_bound is not None
    assert propose(seen, SERVING, Objective(mean_cost_micros=0.0), "v").policy.quality_target == pytest.approx(0.9)


def test_a_mean_cost_needs_prices(seen: Evidence) -> None:
    """Unknown is unknown."""
    unpriced = tuple(replace(each, case=replace(each.case, costs={Tier.SMALL: 1.0})) for each in seen.outcomes)
    with pytest.raises(FailedPrecondition, match="prices"):
        propose(replace(seen, outcomes=unpriced), SERVING, Objective(mean_cost_micros=5.0), "v")
    assert COSTS[Tier.SMALL] == 100.0


def test_what_is_held_out_is_the_same_every_time(seen: Evidence) -> None:
    """And about its share."""
    fitted, held_out = split(seen.outcomes, ProposalSettings().held_out_share)
    assert split(seen.outcomes, ProposalSettings().held_out_share) == (fitted, held_out)
    assert len(held_out) == pytest.approx(0.3 * len(seen.outcomes), rel=0.2)


def test_a_candidate_that_predicts_worse_fails_its_check(seen: Evidence) -> None:
    """It must not be promoted."""
    worse = replace(SERVING, recalibrate=lambda _tier, _task, predicted: 1.0 - predicted)
    result = check(seen.outcomes, worse, SERVING, 0.005)
    assert not result.passed
    assert result.error > result.error_before
