"""Replaying a choice is choosing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.analysis import Analysis, AnalysisSource, Task
from router.cascade import Finding
from router.learning.evidence import Case, reaches
from router.policy import Facts, Policy, TierOption, plan
from router.request import Constraints, Tier

share = st.integers(0, 1000).map(lambda n: n / 1000)


@given(st.tuples(share, share, share).map(sorted), share, st.floats(0.01, 1), share)
def test_reaches_say_what_the_policy_chooses(
    success: list[float], confidence: float, target: float, threshold: float
) -> None:
    """The weakest tier whose reach is not below the threshold."""
    small, medium, frontier = success
    policy = Policy("p", quality_target=target, confidence_threshold=threshold)
    analysis = Analysis((small, medium, frontier), confidence, AnalysisSource.MODEL)
    options = tuple(TierOption(tier, int(tier) * 100) for tier in Tier)
    chosen = plan(Facts(Finding(analysis), options, Constraints()), policy).tier
    reach = reaches(Case("r", "a", Task.OTHER, analysis.success, confidence), policy, tuple(Tier))
    # The policy forgives the last bit, so a threshold at a reach to the last bit may go either way.
    if all(abs(each - target) > 1e-9 for each in reach):
        assert chosen == tuple(Tier)[next(i for i, each in enumerate(reach) if each >= target)]


@pytest.mark.parametrize("tiers", [(Tier.SMALL,), (Tier.SMALL, Tier.LARGE)])
def test_the_strongest_tier_is_always_reached(tiers: tuple[Tier, ...]) -> None:
    """However few tiers there are."""
    case = Case("r", "a", Task.OTHER, (0.1, 0.5, 0.9), 0.0)
    reach = reaches(case, Policy("p"), tiers)
    assert len(reach) == len(tiers)
    assert reach[-1] == float("inf")
