"""The evaluation puts a judge beside simple rows, and the report shows all of it."""

from collections.abc import Sequence

import pytest

from analyzer.analysis import Analysis, Task
from analyzer.judging import success_by_ability
from analyzer.training.baselines import bag_of_words
from analyzer.training.dataset import GradedPrompt, TextMessage
from analyzer.training.evaluate import (
    Conversation,
    Evaluation,
    evaluate_edits,
    evaluate_injections,
    evaluate_levels,
    evaluate_outcomes,
    evaluate_tasks,
    tier_of,
)
from analyzer.training.report import render_report


def analysis(small: float, gain: float, task: Task = Task.MATH) -> Analysis:
    """Returns an analysis with the given success at SMALL and gain."""
    tasks = {each: float(each is task) for each in Task}
    return Analysis(success_by_ability(small, gain, 0.5), 1.0, tasks, 100, 10, truncated=False)


def prompts(count: int) -> list[GradedPrompt]:
    """Returns prompts of which every third needs the strong model; longer ones come later."""
    return [
        GradedPrompt((TextMessage("user", "word " * (index + 1)),), "exam", float(index % 3 != 0), 1.0)
        for index in range(count)
    ]


def test_the_default_policy_takes_the_cheapest_tier_that_is_nearly_as_good() -> None:
    """Within five per cent of the best is good enough."""
    assert tier_of(analysis(0.96, 0.02)) == "small"
    assert tier_of(analysis(0.86, 0.08)) == "medium"
    assert tier_of(analysis(0.40, 0.50)) == "large"


def test_a_perfect_judge_equals_the_oracle_and_beats_the_rest() -> None:
    """All rows are there, each with an interval."""
    judged = prompts(60)
    analyses = [analysis(p.small or 0.0, 1.0 - (p.small or 0.0)) for p in judged]
    figures = evaluate_outcomes(judged, analyses, bag_of_words(judged, prompts(60)), 0.5)
    rankings = figures["rankings"]
    assert isinstance(rankings, dict)
    assert set(rankings) == {
        "judge: expected gain",
        "judge: complexity",
        "oracle",
        "length",
        "random",
        "constant",
        "bag of words",
    }
    assert rankings["judge: expected gain"]["APGR"]["value"] == rankings["oracle"]["APGR"]["value"]  # type: ignore[index,call-overload]
    assert rankings["constant"]["APGR"]["value"] == pytest.approx(0.5)  # type: ignore[index,call-overload]


def test_levels_are_counted_by_tier() -> None:
    """A judge that gets the order right has a rank correlation of one."""
    levels = ("trivial", "ordinary", "demanding", "expert")
    judged = [GradedPrompt((TextMessage("user", level),), "everyday", level=level) for level in levels]
    analyses = [analysis(0.97, 0.01), analysis(0.9, 0.07), analysis(0.7, 0.2), analysis(0.3, 0.5)]
    figures = evaluate_levels(judged, analyses)
    assert figures["spearman"]["expected gain"]["value"] == pytest.approx(1.0)  # type: ignore[index,call-overload]
    assert figures["tiers"]["trivial"] == {"small": 1, "medium": 0, "large": 0}  # type: ignore[index,call-overload]


def test_tasks_are_compared_where_they_are_labelled() -> None:
    """Prompts without a task don't count."""
    judged = [GradedPrompt((TextMessage("user", "x"),), "mine", task=task) for task in (Task.MATH, Task.CODING, None)]
    figures = evaluate_tasks(judged, [analysis(0.5, 0.1)] * 3)
    assert (figures["prompts"], figures["accuracy"]) == (2, 0.5)


def by_length(conversations: Sequence[Conversation]) -> list[Analysis]:
    """A judge that only looks at how long the last message is."""
    return [analysis(0.1, min(0.9, len(conversation[-1].content) / 1000)) for conversation in conversations]


def blind(conversations: Sequence[Conversation]) -> list[Analysis]:
    """A judge that looks at the last message's first word alone."""
    return [
        analysis(0.1, len(c[-1].content.strip().lower().removeprefix("please ").split()[0]) / 100)
        for c in conversations
    ]


def test_a_judge_that_ignores_the_edits_never_flips() -> None:
    """Nothing that counts has changed."""
    conversations = [(TextMessage("user", "w" * (index + 3) + " rest of it"),) for index in range(60)]
    assert evaluate_edits(conversations, blind)["flip rate"] == 0.0


def test_a_judge_that_counts_characters_is_moved_by_a_suffix() -> None:
    """The upgrade is seen at both thresholds."""
    clean = [(TextMessage("user", "a" * 20),)] * 10
    attacked = [(TextMessage("user", "a" * 900),)] * 10
    spread = by_length([(TextMessage("user", "a" * size),) for size in range(10, 600, 10)])
    figures = evaluate_injections(clean, attacked, spread, by_length)
    assert figures["upgrades at thirds"] == 1.0
    assert figures["downgrades at thirds"] == 0.0


def test_the_report_is_one_page_with_its_plots_inside() -> None:
    """No link to anything outside, and prompts' sources are escaped."""
    judged = prompts(40)
    analyses = [analysis(0.5, 0.1 + 0.3 * (index % 3 == 0)) for index in range(40)]
    evaluation = Evaluation(sources={"<mine>": evaluate_outcomes(judged, analyses, None, 0.5)})
    page = render_report(evaluation.as_json(), title="judge-1", subtitle="a test")
    assert page.count("data:image/png;base64,") == 2
    assert "&lt;mine&gt;" in page
    assert "http" not in page.replace("</html>", "")
