"""Changed copies of training prompts keep what the prompts are worth."""

from analyzer.training.augment import augmented
from analyzer.training.dataset import GradedPrompt, TextMessage


def everyday(text: str) -> GradedPrompt:
    """Returns a prompt with a level, after an earlier turn."""
    return GradedPrompt(
        (TextMessage("assistant", "before"), TextMessage("user", text)), "everyday", 0.9, 0.95, "ordinary", position=0.4
    )


def test_copies_differ_in_text_alone() -> None:
    """Outcome, fold and earlier turns are the prompt's."""
    original = everyday("Explain how tides work to a child.")
    copies = augmented([original], copies=4)
    assert len(copies) == 4
    for copy in copies:
        assert (copy.small, copy.frontier, copy.position, copy.messages[0]) == (0.9, 0.95, 0.4, original.messages[0])
    assert any("Explain how tides" in copy.text and len(copy.text) > len(original.text) for copy in copies)


def test_the_same_prompts_give_the_same_copies() -> None:
    """A training can be repeated."""
    prompts = [everyday("one thing"), everyday("another thing")]
    assert augmented(prompts) == augmented(prompts)


def test_graded_prompts_are_left_as_they_were_answered() -> None:
    """Models answered that text and no other."""
    assert augmented([GradedPrompt((TextMessage("user", "q"),), "exam", 1.0, 1.0)]) == []
