"""The prompt frame keeps what matters of a conversation within its token limit, at bounded cost."""

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.framing import FrameParameters, frame_prompt, tidy


@dataclass(frozen=True)
class Message:
    """A message as the frame sees it."""

    role: str
    content: str


@dataclass
class WordTokenizer:
    """Gives every distinct word (and every line break) an id, and counts the characters it was asked to encode."""

    words: dict[str, int] = field(default_factory=dict)
    encoded_characters: int = 0

    def encode(self, text: str) -> list[int]:
        """Returns one id a word."""
        self.encoded_characters += len(text)
        return [self.words.setdefault(word, len(self.words)) for word in re.findall(r"\n|[^\s]+", text)]

    def decode(self, token_ids: tuple[int, ...]) -> str:
        """Returns the words of the ids."""
        by_id = {index: word for word, index in self.words.items()}
        return " ".join(by_id[index] for index in token_ids)


@pytest.fixture
def tokenizer() -> WordTokenizer:
    """Returns a fresh tokenizer."""
    return WordTokenizer()


SMALL_FRAME = FrameParameters(token_limit=20, system_token_limit=4, earlier_token_reserve=6, turn_token_limit=6)


def words(prefix: str, count: int) -> str:
    """Returns `count` distinct words."""
    return " ".join(f"{prefix}{index}" for index in range(count))


def test_a_short_prompt_is_framed_as_it_is(tokenizer: WordTokenizer) -> None:
    """Nothing is added to a prompt that fits."""
    frame = frame_prompt([Message("user", "What is a monad?")], tokenizer.encode, FrameParameters())
    assert tokenizer.decode(frame.token_ids) == "What is a monad?"
    assert (frame.prompt_token_count, frame.truncated) == (4, False)


def test_a_long_message_keeps_its_head_and_its_tail(tokenizer: WordTokenizer) -> None:
    """With a head share of 5/8 a limit of 20 gives 12 tokens of the head and 8 of the tail."""
    frame = frame_prompt([Message("user", words("w", 100))], tokenizer.encode, SMALL_FRAME)
    expected = [f"w{index}" for index in [*range(12), *range(92, 100)]]
    assert tokenizer.decode(frame.token_ids).split() == expected
    assert (frame.prompt_token_count, frame.truncated) == (100, True)


def test_a_follow_up_carries_the_conversation_before_it(tokenizer: WordTokenizer) -> None:
    """A bare "yes, do it" is read together with the turns it answers, oldest first."""
    messages = [
        Message("user", "Prove Fermat"),
        Message("assistant", "Shall I begin?"),
        Message("user", "yes, do it"),
    ]
    frame = frame_prompt(messages, tokenizer.encode, SMALL_FRAME)
    assert tokenizer.decode(frame.token_ids) == "Prove Fermat \n Shall I begin? \n yes, do it"
    assert not frame.truncated


def test_earlier_turns_keep_a_reserve_beside_a_long_last_message(tokenizer: WordTokenizer) -> None:
    """A long last message leaves the newest earlier turn its reserved tokens."""
    messages = [Message("user", words("a", 50)), Message("assistant", words("b", 50)), Message("user", words("c", 50))]
    frame = frame_prompt(messages, tokenizer.encode, SMALL_FRAME)
    framed = tokenizer.decode(frame.token_ids)
    assert "b0" in framed
    assert "a0" not in framed
    assert len(frame.token_ids) == 20


def test_the_system_prompt_gets_only_a_few_tokens(tokenizer: WordTokenizer) -> None:
    """A long system prompt is cut to its limit, separator included."""
    messages = [Message("system", words("s", 50)), Message("user", "hello there")]
    frame = frame_prompt(messages, tokenizer.encode, SMALL_FRAME)
    assert tokenizer.decode(frame.token_ids) == "s0 s1 s49 \n hello there"
    assert frame.truncated


def test_the_token_count_is_exact_up_to_the_bound_and_extrapolated_beyond(tokenizer: WordTokenizer) -> None:
    """Evenly dense text is counted right either way."""
    text = "word " * 20_000
    frame = frame_prompt([Message("user", text)], tokenizer.encode, FrameParameters())
    assert frame.prompt_token_count == pytest.approx(20_000, rel=0.01)


def test_only_a_bounded_part_of_a_huge_message_is_encoded(tokenizer: WordTokenizer) -> None:
    """A quarter of a megabyte costs a fixed number of characters, whatever it holds."""
    for text in ("word " * 50_000, " " * 250_000, "x" * 250_000):
        tokenizer.encoded_characters = 0
        frame_prompt([Message("user", text)], tokenizer.encode, FrameParameters())
        assert tokenizer.encoded_characters < 40_000


def test_many_short_turns_stay_within_the_limit(tokenizer: WordTokenizer) -> None:
    """256 messages fill the frame from the newest backwards."""
    messages = [Message("user" if index % 2 else "assistant", f"turn {index}") for index in range(255)]
    frame = frame_prompt([*messages, Message("user", "go on")], tokenizer.encode, SMALL_FRAME)
    assert len(frame.token_ids) <= 20
    assert tokenizer.decode(frame.token_ids).endswith("turn 254 \n go on")
    assert frame.truncated


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("  two  words \n", "two words"),
        ("a \t b\t\nc", "a b\nc"),
        ("if x:\n    y  = 1", "if x:\n    y = 1"),
        ("one\n\ntwo", "one\n\ntwo"),
        ("   ", ""),
    ],
)
def test_blanks_that_mean_nothing_are_left_out_and_indentation_stays(text: str, tidied: str) -> None:
    """Only the last blank of a run inside a line is kept."""
    assert tidy(text) == tidied


def test_stray_blanks_do_not_change_what_is_read() -> None:
    """The frame of a prompt with a trailing blank is the frame without it."""
    frames = [
        frame_prompt(
            [Message("user", text)], lambda tidied: [ord(letter) for letter in tidied], FrameParameters()
        ).token_ids
        for text in ("What is a monad?", "What  is a monad? ")
    ]
    assert frames[0] == frames[1]


@pytest.mark.parametrize("parameters", [{"token_limit": 40}, {"head_share": 0.0}, {"head_share": 1.5}])
def test_useless_parameters_are_refused(parameters: dict[str, float]) -> None:
    """A frame with no room for the last message, or no head, is a mistake of the revision's author."""
    with pytest.raises(ValueError, match=r"frame|head_share"):
        FrameParameters(**parameters)  # type: ignore[arg-type]


@given(
    contents=st.lists(st.text(max_size=400), min_size=1, max_size=6),
    roles=st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=6, max_size=6),
)
def test_no_conversation_exceeds_the_limit(contents: list[str], roles: list[str]) -> None:
    """Whatever the messages hold, the frame stays within its limit and never invents tokens."""
    tokenizer = WordTokenizer()
    messages = [Message(role, content) for role, content in zip(roles, contents, strict=False)]
    frame = frame_prompt(messages, tokenizer.encode, SMALL_FRAME)
    assert len(frame.token_ids) <= SMALL_FRAME.token_limit
    assert frame.prompt_token_count >= 0
