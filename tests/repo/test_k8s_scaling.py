"""The shipped autoscaler ends refusals within a minute of a fivefold load; the simulation that says so is fair."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.k8s.scaling.__main__ import shipped
from deploy.k8s.scaling.autoscaling import CPU, WAIT, Scaler, ScalerSettings, Step
from deploy.k8s.scaling.fleet import Fleet
from deploy.k8s.scaling.report import recovery_seconds
from deploy.k8s.scaling.simulating import Scenario, simulate
from deploy.k8s.scaling.steady import carried

TIMES = (0.0186, 0.0308, 0.0437, 0.0596, 0.0709, 0.0789, 0.0943, 0.1059)
"""As measured once, on one core of an AMD EPYC: the defaults of the documentation's figures."""


def test_the_shipped_settings_end_refusals_within_a_minute() -> None:
    """And sooner than CPU alone would."""
    settings, scenario = shipped(), Scenario(TIMES)
    by_wait = recovery_seconds(simulate(scenario, settings), scenario)
    by_cpu = recovery_seconds(simulate(scenario, replace(settings, targets={CPU: settings.targets[CPU]})), scenario)
    assert 0 < by_wait <= 60
    assert by_wait < by_cpu


def test_shipped_settings_are_the_manifest_s() -> None:
    """Not a copy."""
    assert shipped().targets == {WAIT: 0.01, CPU: 0.7}
    assert (shipped().least, shipped().calm_seconds) == (3, 600)


def test_a_replica_with_room_answers_at_its_service_time() -> None:
    """One call in ten seconds meets an empty queue."""
    p50, p99, refused = carried(TIMES, rate=0.1)
    assert p50 == pytest.approx(TIMES[0])
    assert p99 < 2 * TIMES[1]
    assert refused == 0


def test_nothing_is_answered_late_and_every_call_ends_once() -> None:
    """Far too many calls: what can't end in time is dropped, the rest keeps its deadline."""
    fleet = Fleet(2, TIMES, seed=3)
    fleet.arrivals(lambda moment: 400 if moment < 5 else 1e-9)
    fleet.run(20)
    assert all(each.seconds is None or each.seconds <= 0.1 + 1e-9 for each in fleet.ended)
    assert sum(each.open for each in fleet.ready) == 0
    answered = sum(each.seconds is not None for each in fleet.ended)
    assert 0 < answered < len(fleet.ended)


def test_the_autoscaler_rises_by_its_policies_and_falls_after_calm() -> None:
    """Twice as many each period; down only when nothing higher was wanted for the whole window."""
    settings = ScalerSettings(2, 20, {CPU: 0.5}, (Step(percent=True, value=100, seconds=15),), calm_seconds=60)
    scaler = Scaler(settings)
    assert scaler.next_count(0, 2, {CPU: [1.0] * 2}) == 4
    assert scaler.next_count(15, 4, {CPU: [1.0] * 4}) == 8
    assert scaler.next_count(30, 8, {CPU: [0.5] * 8}) == 8
    assert scaler.next_count(45, 8, {CPU: [0.1] * 8}) == 8
    assert scaler.next_count(120, 8, {CPU: [0.1] * 8}) == 2


def test_replicas_that_start_hold_back_the_next_rise() -> None:
    """They count as idle until they are ready: no second overshoot for the same shortage."""
    settings = ScalerSettings(1, 40, {CPU: 0.5}, (Step(percent=False, value=40, seconds=15),), calm_seconds=60)
    assert Scaler(settings).next_count(0, 6, {CPU: [1.0, 1.0, 1.0]}) == 6
    assert Scaler(settings).next_count(0, 4, {CPU: [1.0, 1.0, 1.0]}) == 6
