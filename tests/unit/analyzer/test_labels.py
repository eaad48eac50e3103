"""The label judge reads one position's logits, corrects for favourite labels, and never sounds sure."""

import pytest

from analyzer.analysis import Ability
from analyzer.framing import Frame, FrameParameters
from analyzer.labels import LABELS, LabelJudge, UnsuitableTokenizerError, content_free_frame, labelled_frame, rubric
from tests.support.fake_model import Message

FRAME = Frame((1, 2, 3), prompt_token_count=3, truncated=False)


def characters(text: str) -> list[int]:
    """A tokenizer of single characters."""
    return [ord(character) for character in text]


def words(text: str) -> list[int]:
    """A tokenizer that joins a blank to the word after it, as most do."""
    tokens: list[str] = []
    for character in text:
        if tokens and character != " " and tokens[-1][-1:] != "\n":
            tokens[-1] += character
        else:
            tokens.append(character)
    return [sum(ord(character) * 31**index for index, character in enumerate(token)) % 100_003 for token in tokens]


@pytest.mark.parametrize("encode", [characters, words])
def test_each_label_has_a_token_of_its_own_whatever_becomes_of_blanks(encode: object) -> None:
    """The token by which the endings differ."""
    found = rubric(encode, start=(7,))  # type: ignore[arg-type]
    assert len(set(found.labels)) == len(LABELS)
    assert found.before[0] == 7


def test_a_tokenizer_without_label_tokens_is_refused() -> None:
    """All five look alike to it."""
    with pytest.raises(UnsuitableTokenizerError):
        rubric(lambda text: [1 if character.isdigit() else 0 for character in text])


def test_the_prompt_stands_inside_the_rubric_and_is_counted_alone() -> None:
    """Truncation and count are those of the prompt."""
    found = rubric(characters)
    frame = labelled_frame(found, characters, FrameParameters())([Message("user", "hello")])
    assert frame.token_ids == (*found.before, *characters("hello"), *found.after)
    assert frame.prompt_token_count == 5
    assert content_free_frame(found, characters).token_ids[: len(found.before)] == found.before


def test_a_favourite_label_counts_for_nothing() -> None:
    """What the model says to everything says nothing about a prompt."""
    favourite = [0.0, 0.0, 0.0, 0.0, 9.0]
    neutral = LabelJudge(favourite).judge(favourite, FRAME)
    hard = LabelJudge(favourite).judge([0.0, 0.0, 0.0, 0.0, 14.0], FRAME)
    easy = LabelJudge(favourite).judge([5.0, 0.0, 0.0, 0.0, 9.0], FRAME)
    assert easy.complexity < neutral.complexity < hard.complexity
    assert neutral.confidence == pytest.approx(0.0)


@pytest.mark.parametrize("scores", [[0.0] * 5, [50.0, 0, 0, 0, 0], [0, 0, 0, 0, 50.0], [-3.0, 1.0, 2.0, 0.0, 1.0]])
def test_success_never_decreases_with_ability_and_trust_stays_low(scores: list[float]) -> None:
    """An untrained opinion moves a decision up, never down alone."""
    found = LabelJudge([0.0] * 5).judge(scores, FRAME)
    assert found.success[Ability.SMALL] <= found.success[Ability.MEDIUM] <= found.success[Ability.FRONTIER]
    assert 0.0 <= found.confidence <= 0.4
    assert not found.task_probabilities
