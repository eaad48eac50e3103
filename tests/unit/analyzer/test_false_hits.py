"""A similar cache that misleads switches itself off, and on again when it no longer would."""

from analyzer.analysis import Ability, Analysis
from analyzer.false_hits import FalseHits, FalseHitSettings, reference_ability
from analyzer.framing import Frame
from tests.support.fake_model import FakeJudge


def judged(small: int) -> Analysis:
    """An analysis with a given success of SMALL, in thousandths."""
    return FakeJudge().judge([float(small)], Frame((1,), 1, truncated=False))


EASY, HARD = judged(900), judged(100)


def test_a_hit_is_wrong_when_another_tier_would_have_been_chosen() -> None:
    """A little more or less probability changes nothing."""
    assert reference_ability(EASY) is Ability.SMALL
    assert reference_ability(HARD) is Ability.FRONTIER
    watch = FalseHits()
    assert not watch.record(EASY, judged(890))
    assert watch.record(EASY, HARD)


def test_it_switches_off_above_two_percent_and_on_below_one() -> None:
    """After enough checks, not after the first bad one."""
    watch = FalseHits(FalseHitSettings(window=200, enough=50))
    watch.record(EASY, HARD)
    assert watch.cache_on
    for _ in range(48):
        watch.record(EASY, EASY)
    assert watch.cache_on
    watch.record(EASY, HARD)
    assert not watch.cache_on
    assert "off" in repr(watch)
    for _ in range(200):
        watch.record(EASY, EASY)
    assert watch.cache_on
    assert watch.wrong_share == 0.0


def test_the_checked_share_is_that_of_the_settings() -> None:
    """A draw below it is checked."""
    watch = FalseHits(FalseHitSettings(checked_share=0.015))
    assert [watch.is_checked(draw) for draw in (0.0, 0.0149, 0.015, 0.9)] == [True, True, False, False]
