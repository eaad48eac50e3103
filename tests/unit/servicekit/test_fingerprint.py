"""Trivial rewrites find each other; a changed number, negation or word of substance does not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.fingerprint import MOST_SIGNED_CHARACTERS, affinity_bucket, exact_key, signature

REWRITES = [
    ("What is the capital of France?", "what is   the capital of france"),
    ("Write a poem about the sea.", "Please write a poem about the sea, thanks!"),
    ("Explain recursion to a beginner.", "Could you please explain recursion to a beginner?"),
    ("Write an email to John about the delay.", "Write an email to Maria about the delay."),
    ("What's the tallest mountain on Earth?", "What is the tallest mountain on Earth?"),
    ("Summarize the plot of Hamlet", "Hi there! Would you summarize the plot of Hamlet? Thank you in advance."),
    ("Sort the list by date", "I was wondering if you could sort list by date."),
]
LOOKALIKES = [
    ("What is 12 times 7?", "What is 12 times 8?"),
    ("What is 2²?", "What is 22?"),
    ("Explain why the sky is blue.", "Explain why the sky is not blue."),
    ("Can dogs eat grapes?", "Can't dogs eat grapes?"),
    ("What is the capital of France?", "What is the capital of Germany?"),
    ("Does A cause B?", "Does B cause A?"),
    ("Tell me about King Henry", "Tell me about King Charles"),
    ("Which foods contain iron?", "Which foods contain zinc?"),
    ("Translate this with a dictionary", "Translate this without a dictionary"),
    ("Is 5 > 3?", "Is 5 < 3?"),
    ("`foo(x)` returns what?", "`foo(X)` returns what?"),
    ("What happened before 1990?", "What happened after 1990?"),
    ("Is this number 1.5 or 2?", "Is this number 15 or 2?"),
]


@pytest.mark.parametrize(("a", "b"), REWRITES)
def test_a_trivial_rewrite_has_the_same_meaning_and_bucket(a: str, b: str) -> None:
    """Politeness costs no forward pass."""
    first, second = signature(a), signature(b)
    assert first is not None
    assert second is not None
    assert first.meaning == second.meaning
    assert first.similarity(second) >= 0.5
    assert affinity_bucket(a) == affinity_bucket(b)


@pytest.mark.parametrize(("a", "b"), LOOKALIKES)
def test_a_lookalike_is_another_prompt(a: str, b: str) -> None:
    """The guards outrank every similarity."""
    first, second = signature(a), signature(b)
    assert first is not None
    assert second is not None
    assert first.similarity(second) == 0.0
    assert exact_key([a]) != exact_key([b])


def test_exact_keys_forgive_white_space_alone() -> None:
    """And never run two texts together."""
    assert exact_key([" A  b\n"]) == exact_key(["A b"])
    assert exact_key(["ab", "c"]) != exact_key(["a", "bc"])
    assert exact_key(["a", ""]) != exact_key(["a"])


@given(st.text())
def test_any_text_has_a_key_and_a_bucket_that_never_change(text: str) -> None:
    """Lone surrogates, controls and NUL included."""
    assert exact_key([text]) == exact_key([text])
    assert affinity_bucket(text) == affinity_bucket(text)
    found = signature(text)
    assert found is None or found.similarity(found) == 1.0


def test_buckets_are_the_same_in_every_process() -> None:
    """Routers and analyzers must agree, today and after a restart."""
    assert affinity_bucket("What is the capital of France?") == affinity_bucket("what is the CAPITAL of France")
    assert len({affinity_bucket(f"Question {n} about topic {n * 7}") for n in range(200)}) > 150


@pytest.mark.parametrize(
    "unit", ["word ", "ﬁ", "é́", " ", "a.b,", "hi ", "(", "please ", "<a", "a(", "\n", "`", ";", "Dear John "]
)
def test_the_work_is_bounded_for_the_largest_prompt(unit: str) -> None:
    """256 KiB of anything; seconds would mean a quadratic pattern."""
    text = (unit * 262_144)[:262_144]
    started = time.perf_counter()
    exact_key([text])
    affinity_bucket(text)
    signature(text)
    signature(text[:MOST_SIGNED_CHARACTERS])
    assert time.perf_counter() - started < 2.0
