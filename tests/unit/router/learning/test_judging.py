"""Short answers that say the same, and ones that don't."""

import pytest

from router.learning.judging import agreement, conclusion


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "paris."),
        ("The capital is Paris", "Capital: Paris"),
        ("1,024", "1024"),
        ("So 12 * 3 = 36.\n#### 36", "We add twelve three times. The answer is 36"),
        (r"Thus \boxed{B}", "\\boxed{b}"),
        ("The answer is 4.", "4"),
    ],
)
def test_agreement(one: str, other: str) -> None:
    """In other words, the same."""
    assert agreement(one, other) == agreement(other, one) == 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "Lyon"),
        ("It takes 3 days to get there by train", "It takes 5 days to get there by train"),
        (r"\boxed{36}", r"\boxed{35}"),
        ("-4", "4"),
        ("A", "B"),
    ],
)
def test_disagreement(one: str, other: str) -> None:
    """Nearly the same words, another answer."""
    assert agreement(one, other) == agreement(other, one) == 0.0


@pytest.mark.parametrize("text", ["", "...", "word " * 61])
def test_what_cannot_be_compared_is_left_undecided(text: str) -> None:
    """Long answers may agree in other words."""
    assert agreement(text, "Paris") is None


def test_the_last_conclusion_counts() -> None:
    """A text may correct itself."""
    assert conclusion("The answer is 3. No: the answer is 4") == "4"
    assert conclusion("I don't know") is None
