"""Alarms when quality falls, none while it does not."""

import random
from dataclasses import replace

import pytest

from router.analysis import Task
from router.learning.evidence import Case, Outcome, Pair
from router.learning.watching import Detector, Promise, Watch, drift, profile
from router.policy import Policy
from router.request import Tier

TIERS = tuple(Tier)
EASY = Case("r", "a", Task.OTHER, (0.95, 0.96, 0.97), 1.0)
HARD = Case("r", "a", Task.OTHER, (0.1, 0.3, 0.97), 1.0)
POLICY = Policy("v1")


def coin(chance: float, draw: random.Random) -> float:
    """A loss of 1 with this chance."""
    return float(draw.random() < chance)


def test_a_detector_is_patient_with_what_it_was_promised() -> None:
    """In 40 runs of 500 losses at the level, alarms are rare."""
    draw = random.Random(3)
    alarms = 0
    for _ in range(40):
        detector = Detector(0.05)
        alarms += any(detector.observe(coin(0.05, draw)) for _ in range(500))
    assert alarms <= 4


@pytest.mark.parametrize("calm", [0, 5000])
def test_a_detector_notices_a_rise_however_long_it_was_calm(calm: int) -> None:
    """It starts anew whenever it has lost."""
    draw = random.Random(4)
    detector = Detector(0.05)
    for _ in range(calm):
        detector.observe(coin(0.02, draw))
    assert not detector.alarmed
    assert any(detector.observe(coin(0.2, draw)) for _ in range(300))
    assert detector.alarmed


def test_regret_of_tiers_the_policy_does_not_choose_is_nothing_to_worry_about() -> None:
    """A small model failing where it is not asked costs no quality."""
    watch = Watch(POLICY, TIERS, Promise(0.95))
    watch.pairs([Pair(HARD, Tier.SMALL, Tier.MEDIUM, 0.0, 1.0)] * 1000)
    assert not watch.alarm()
    watch.pairs([Pair(EASY, Tier.SMALL, Tier.MEDIUM, 0.0, 1.0)] * 100)
    assert watch.alarm() == "Shadow pairs show quality below 95% of the top tier's."


def test_bad_reports_alarm_on_their_own() -> None:
    """Against what was reported when it was promoted."""
    watch = Watch(POLICY, TIERS, Promise(0.95, reported_quality=0.9))
    watch.outcomes([Outcome(EASY, Tier.SMALL, 0.9)] * 1000)
    assert not watch.alarm()
    watch.outcomes([Outcome(EASY, Tier.SMALL, 0.0)] * 100)
    assert "Reported quality" in watch.alarm()


def test_nobody_alone_can_have_a_policy_left() -> None:
    """Two who complain can."""
    fine = [Outcome(replace(EASY, tenant=f"t{i % 5}"), Tier.SMALL, 0.9) for i in range(500)]
    bad = [Outcome(replace(EASY, tenant="x"), Tier.SMALL, 0.0)] * 300
    one, two = (Watch(POLICY, TIERS, Promise(0.95, reported_quality=0.9)) for _ in range(2))
    one.outcomes(fine + bad)
    assert not one.alarm()
    two.outcomes(fine + bad + [Outcome(replace(EASY, tenant="y"), Tier.SMALL, 0.0)] * 200)
    assert two.alarm()


def test_drift_tells_traffic_of_another_kind() -> None:
    """By the tiers it goes to and by its scores."""
    before, same, other = (
        profile(cases, POLICY, TIERS) for cases in ([EASY] * 9 + [HARD], [EASY] * 9 + [HARD], [HARD])
    )
    assert before.tiers == (0.9, 0.0, 0.1)
    assert drift(before, same).tier_mix == drift(before, same).scores == 0.0
    moved = drift(before, other)
    assert moved.tier_mix == pytest.approx(0.9)
    assert moved.scores > 0.25


def test_no_traffic_has_a_profile_of_zeros() -> None:
    """Nothing is divided by nothing."""
    assert sum(profile([], POLICY, TIERS).tiers) == 0.0
