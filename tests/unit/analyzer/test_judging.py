"""The head judge turns raw scores into honest, ordered, explainable outputs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from analyzer.analysis import Ability, Task
from analyzer.framing import Frame
from analyzer.judging import Calibration, Curve, Expert, Familiarity, HeadJudge, success_by_ability

EXPERT_ROWS = 6
FULL = Frame(token_ids=tuple(range(40)), prompt_token_count=40, truncated=False)


def calibration(*, familiarity_rows: tuple[int, ...] = (15,)) -> Calibration:
    """Returns two experts (rows 0 to 2 and 3 to 5), nine tasks (6 to 14) and one direction of familiarity (15)."""
    unit = Curve(knots=((0.0, 0.0), (1.0, 1.0)))
    expert = {"gain_curve": unit, "small_curve": unit}
    return Calibration(
        biases=(0.0,) * 16,
        experts={
            "exam": Expert(gate=0, gain=1, small=2, **expert),
            "open": Expert(gate=3, gain=4, small=5, **expert),
        },
        tasks={task: EXPERT_ROWS + index for index, task in enumerate(Task)},
        medium_share=0.5,
        familiarity=Familiarity(rows=familiarity_rows, confidence_curve=Curve(knots=((1.0, 1.0), (9.0, 0.0)))),
        prior=(0.5, 0.8),
        truncated_confidence=0.5,
        token_confidence_curve=Curve(knots=((0.0, 0.0), (4.0, 1.0))),
        output_tokens={task: 100 * (index + 1) for index, task in enumerate(Task)},
        abilities=dict.fromkeys(Ability, "models"),
    )


def scores(**rows: float) -> list[float]:
    """Returns sixteen scores, those named `r<index>` set."""
    values = [0.0] * 16
    for name, value in rows.items():
        values[int(name[1:])] = value
    return values


def test_a_curve_interpolates_and_is_flat_beyond_its_ends() -> None:
    """Between knots linear, outside constant."""
    curve = Curve(knots=((0.0, 1.0), (2.0, 3.0), (4.0, 3.5)))
    assert [curve(x) for x in (-1.0, 0.0, 1.0, 3.0, 4.0, 9.0)] == [1.0, 1.0, 2.0, 3.25, 3.5, 3.5]


def test_a_curve_with_unordered_knots_is_refused() -> None:
    """Two knots at the same x have no slope."""
    with pytest.raises(ValidationError, match="ascend"):
        Curve(knots=((1.0, 0.0), (1.0, 1.0)))


def test_the_gate_weighs_the_experts() -> None:
    """A gate of ln 3 gives the exam expert three quarters of the say."""
    analysis = HeadJudge(calibration()).judge(scores(r0=math.log(3.0), r1=0.4, r2=0.2, r4=0.0, r5=0.6), FULL)
    assert analysis.success[Ability.SMALL] == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)
    assert analysis.expected_gain == pytest.approx(0.3)
    assert analysis.complexity == pytest.approx(1.0 - analysis.success[Ability.SMALL])


def test_a_foreign_prompt_is_pulled_to_the_prior_and_never_looks_easy() -> None:
    """Far from all training prompts, a sure "easy" becomes the prior, with no confidence."""
    analysis = HeadJudge(calibration()).judge(scores(r2=1.0, r5=1.0, r15=4.0), FULL)
    assert analysis.confidence == 0.0
    assert analysis.success[Ability.SMALL] == pytest.approx(0.5)
    assert analysis.expected_gain == pytest.approx(0.3)


def test_truncation_lowers_confidence_by_its_factor() -> None:
    """Half of the confidence is left, as the calibration says."""
    cut = Frame(token_ids=FULL.token_ids, prompt_token_count=4000, truncated=True)
    analysis = HeadJudge(calibration()).judge(scores(), cut)
    assert analysis.confidence == pytest.approx(0.5)
    assert (analysis.truncated, analysis.prompt_token_count) == (True, 4000)


def test_a_prompt_of_no_tokens_shows_no_signal() -> None:
    """Nothing read, nothing known."""
    nothing = Frame(token_ids=(), prompt_token_count=0, truncated=False)
    assert HeadJudge(calibration()).judge(scores(r2=1.0, r5=1.0), nothing).confidence == 0.0


def test_task_and_output_length_follow_the_task_rows() -> None:
    """A clear translation is expected to be as long as translations are."""
    row = EXPERT_ROWS + list(Task).index(Task.TRANSLATION)
    analysis = HeadJudge(calibration()).judge(scores(**{f"r{row}": 50.0}), FULL)
    assert analysis.task is Task.TRANSLATION
    assert analysis.expected_output_tokens == 700
    assert sum(analysis.task_probabilities.values()) == pytest.approx(1.0)


def test_a_calibration_survives_json() -> None:
    """What is written to a manifest is what is read back."""
    original = calibration()
    assert Calibration.model_validate_json(original.model_dump_json()) == original


def test_a_calibration_that_names_a_missing_row_is_refused() -> None:
    """Row 16 of 16 does not exist."""
    with pytest.raises(ValidationError, match="row 16 does not exist"):
        calibration(familiarity_rows=(16,))


def test_the_wrong_number_of_scores_is_a_mistake_of_the_engine() -> None:
    """A head and a calibration of different revisions must not be mixed silently."""
    with pytest.raises(ValueError, match="expected 16 scores, got 2"):
        HeadJudge(calibration()).judge([0.0, 0.0], FULL)


def test_medium_is_the_midpoint_of_the_log_odds() -> None:
    """Odds of 1 and 9 have their geometric mean at 3."""
    assert success_by_ability(0.5, 0.4, 0.5)[Ability.MEDIUM] == pytest.approx(0.75)


def test_gain_is_kept_when_success_and_gain_do_not_fit_together() -> None:
    """The gain ranks prompts, so success at SMALL gives way."""
    success = success_by_ability(0.9, 0.3, 0.5)
    assert success[Ability.FRONTIER] - success[Ability.SMALL] == pytest.approx(0.3)
    assert success[Ability.FRONTIER] == pytest.approx(1.0)


@given(small=st.floats(-1, 2), gain=st.floats(-1, 2), share=st.floats(0, 1))
def test_success_never_decreases_with_ability(small: float, gain: float, share: float) -> None:
    """Whatever the rows say, more ability is never worse and probabilities are probabilities."""
    success = success_by_ability(small, gain, share)
    assert 0.0 <= success[Ability.SMALL] <= success[Ability.MEDIUM] <= success[Ability.FRONTIER] <= 1.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=16, max_size=16))
def test_any_finite_scores_give_a_valid_analysis(values: list[float]) -> None:
    """No overflow, no NaN, nothing outside 0..1."""
    analysis = HeadJudge(calibration()).judge(values, FULL)
    assert all(0.0 <= value <= 1.0 for value in (*analysis.success.values(), analysis.confidence))
    assert sum(analysis.task_probabilities.values()) == pytest.approx(1.0)
