"""Tokens nobody told are counted roughly, sooner too many than too few."""

from hypothesis import given, settings
from hypothesis import strategies as st

from router.request import Message, Role
from router.tokens import RoughTokens

TOKENS = RoughTokens()


def test_english_is_near_the_truth_and_not_below() -> None:
    """These 44 characters are 9 to 10 tokens in common vocabularies."""
    assert 10 <= TOKENS.text("The quick brown fox jumps over the lazy dog.") <= 14


def test_nothing_has_no_tokens_and_anything_has_one() -> None:
    """The ends of the scale."""
    assert TOKENS.text("") == 0
    assert TOKENS.text("a") == 1
    assert TOKENS.text("語") == 1


def test_other_scripts_count_by_the_character() -> None:
    """A Chinese sentence is about as many tokens as characters."""
    assert TOKENS.text("今天天气很好") == 6


def test_messages_cost_their_frame() -> None:
    """What a chat template adds."""
    assert TOKENS.prompt([Message(Role.USER, "hi")] * 2) == 2 * (1 + 4) + 3


@settings(deadline=None)
@given(st.text(), st.text())
def test_a_longer_text_never_has_fewer(one: str, other: str) -> None:
    """Adding text adds tokens."""
    assert TOKENS.text(one + other) >= max(TOKENS.text(one), TOKENS.text(other))
