"""A head fitted to made-up hidden states says what was put into them."""

from dataclasses import replace

import numpy as np
import pytest

from analyzer.analysis import Ability, Task
from analyzer.framing import Frame
from analyzer.judging import HeadJudge
from analyzer.training.dataset import GradedPrompt, TextMessage, question_position
from analyzer.training.fit import FitError, FittedHead, fit_head, fold_of
from analyzer.training.linear import Matrix
from analyzer.training.metrics import spearman

WIDTH = 12
FRAME = Frame(token_ids=tuple(range(30)), prompt_token_count=30, truncated=False)


def prompt(index: int, **facts: object) -> GradedPrompt:
    """Returns a prompt of its own question."""
    text = f"prompt {index}"
    return replace(
        GradedPrompt((TextMessage("user", text),), "exam", position=question_position(text)),
        **facts,  # type: ignore[arg-type]
    )


def made_up() -> tuple[Matrix, list[GradedPrompt]]:
    """Direction 0 says exam or everyday, 1 how hard an exam question is, 2 how hard everyday work, 3 which task."""
    random = np.random.default_rng(3)
    features = random.standard_normal((600, WIDTH)) * 3.0 + 5.0
    exam = np.arange(600) % 2 == 0
    features[:, 0] = np.where(exam, 9.0, 1.0)
    prompts = []
    for index, (row, is_exam) in enumerate(zip(features, exam, strict=True)):
        if is_exam:
            prompts.append(prompt(index, small=float(row[1] < 5.0), frontier=1.0))
        else:
            level = ("trivial", "expert")[int(row[2] > 5.0)]
            small, frontier = (0.98, 0.99) if level == "trivial" else (0.4, 0.85)
            task = (Task.CODING, Task.WRITING)[int(row[3] > 5.0)]
            prompts.append(prompt(index, source="everyday", level=level, small=small, frontier=frontier, task=task))
    return features, prompts


@pytest.fixture(scope="module")
def fitted() -> FittedHead:
    """Returns a head fitted to all of them."""
    return fit_head(*made_up())


def test_each_kind_is_ranked_by_its_own_direction(fitted: FittedHead) -> None:
    """The gate finds the kind, the expert its direction."""
    features, prompts = made_up()
    judge = HeadJudge(fitted.calibration)
    analyses = [judge.judge(row.tolist(), FRAME) for row in features @ fitted.rows.T]
    gain = np.array([analysis.expected_gain for analysis in analyses])
    exam = np.array([prompt.graded for prompt in prompts])
    assert spearman(gain[exam], features[exam, 1]) > 0.9
    assert spearman(gain[~exam], features[~exam, 2]) > 0.9


def test_tasks_and_abilities_come_out_right(fitted: FittedHead) -> None:
    """Mean predicted success is the mean outcome, and the task is mostly found."""
    features, prompts = made_up()
    judge = HeadJudge(fitted.calibration)
    analyses = [judge.judge(row.tolist(), FRAME) for row in features @ fitted.rows.T]
    small = np.mean([analysis.success[Ability.SMALL] for analysis in analyses])
    assert small == pytest.approx(np.mean([prompt.small for prompt in prompts]), abs=0.05)
    known = [(prompt.task, analysis.task) for prompt, analysis in zip(prompts, analyses, strict=True) if prompt.task]
    assert np.mean([expected is found for expected, found in known]) > 0.85


def test_a_prompt_far_from_all_others_is_trusted_less(fitted: FittedHead) -> None:
    """Twenty standard deviations away is foreign."""
    features, _ = made_up()
    judge = HeadJudge(fitted.calibration)
    near = judge.judge((fitted.rows @ features[0]).tolist(), FRAME)
    far = judge.judge((fitted.rows @ (features[0] + 60.0)).tolist(), FRAME)
    assert near.confidence == pytest.approx(1.0, abs=0.2)
    assert far.confidence < 0.4


def test_data_that_teach_no_difficulty_are_refused() -> None:
    """Tasks alone make no judge."""
    prompts = [prompt(index, task=Task.MATH) for index in range(20)]
    with pytest.raises(FitError, match="outcomes or a level"):
        fit_head(np.random.default_rng(0).standard_normal((20, WIDTH)), prompts)


def test_one_source_alone_is_enough() -> None:
    """A user's own outcomes, without levels or tasks, make a judge."""
    features, prompts = made_up()
    exam = [index for index, each in enumerate(prompts) if each.graded]
    head = fit_head(features[exam], [prompts[index] for index in exam])
    analysis = HeadJudge(head.calibration).judge((head.rows @ features[0]).tolist(), FRAME)
    assert analysis.task is Task.OTHER


def test_the_same_question_is_always_in_the_same_fold() -> None:
    """Folds come from the question's hash."""
    first, second = prompt(1), prompt(1)
    assert fold_of([first])[0] == fold_of([second])[0]
