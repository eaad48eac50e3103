"""The prompt frame: which tokens of a conversation the judge reads.

The last user message comes first in the budget (its head and its tail), earlier turns fill what is left from the newest
backwards, and a system prompt gets a few tokens. The parts are then laid out in the order of the conversation. All text
is data: the encoder must treat chat-template tokens inside it as plain text.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Encode = Callable[[str], Sequence[int]]

# A window of this many characters per wanted token nearly always holds enough tokens; if not, it is doubled, up to
# a bound that keeps a message of nothing but blanks cheap.
_CHARACTERS_PER_TOKEN = 8
_MOST_CHARACTERS_PER_TOKEN = 64
_SEPARATOR = "\n"
_FEWEST_TOKENS_OF_LAST_MESSAGE = 8
_BLANKS_INSIDE_A_LINE = re.compile(r"(?<=\S)[ \t]+(?=[ \t\n]|$)")


def tidy(text: str) -> str:
    """Returns the text without blanks that mean nothing: doubled ones, at the ends of lines, around the whole.

    Indentation stays. The tokens of two prompts that differ in such blanks are then the same, and so is the judgement.
    """
    return _BLANKS_INSIDE_A_LINE.sub("", text).strip()


class FramedMessage(Protocol):
    """What the frame needs of a message: `role` is system, user or assistant."""

    @property
    def role(self) -> str:
        """Who speaks."""
        ...

    @property
    def content(self) -> str:
        """What is said."""
        ...


@dataclass(frozen=True, slots=True)
class FrameParameters:
    """How a frame is cut; part of a revision, because a head only fits the frame it was trained on."""

    token_limit: int = 128
    """Most tokens of a frame."""

    system_token_limit: int = 16
    """Most tokens of the system prompt."""

    earlier_token_reserve: int = 24
    """Tokens kept free for earlier turns even when the last message alone would fill the frame."""

    turn_token_limit: int = 40
    """Most tokens of any one earlier turn."""

    head_share: float = 0.625
    """Share of a cut message's tokens taken from its head; the others come from its tail."""

    exact_count_characters: int = 8192
    """Up to this many characters in sum the token count is exact; beyond, the rest is extrapolated."""

    def __post_init__(self) -> None:
        """Refuses limits that leave the last message no room."""
        if self.token_limit - self.system_token_limit - self.earlier_token_reserve < _FEWEST_TOKENS_OF_LAST_MESSAGE:
            message = f"a frame of {self.token_limit} tokens leaves the last message fewer than 8"
            raise ValueError(message)
        if not 0.0 < self.head_share <= 1.0:
            message = f"head_share must be in (0, 1], not {self.head_share}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Frame:
    """The tokens the judge reads, and what is known about the ones it does not."""

    token_ids: tuple[int, ...]
    prompt_token_count: int
    truncated: bool


@dataclass(slots=True)
class _Excerpt:
    """Head and tail tokens of one text, encoded only as far as needed."""

    text: str
    encode: Encode
    head_share: float
    complete: Sequence[int] | None = field(default=None, init=False)

    def within(self, limit: int) -> tuple[list[int], bool]:
        """Returns at most `limit` tokens and whether anything was left out."""
        window = max(limit, 1) * _CHARACTERS_PER_TOKEN * 2
        if self.complete is None and len(self.text) <= window:
            self.complete = self.encode(tidy(self.text))
        if self.complete is not None and len(self.complete) <= limit:
            return list(self.complete), False
        head_limit = max(1, round(limit * self.head_share)) if limit else 0
        tail_limit = limit - head_limit
        head, whole = self._window(head_limit, from_end=False)
        if whole and len(head) <= limit:
            return head, False
        tail, _ = self._window(tail_limit, from_end=True)
        return head[:head_limit] + tail[len(tail) - tail_limit :], True

    def _window(self, limit: int, *, from_end: bool) -> tuple[list[int], bool]:
        """Encodes from one end until `limit` tokens are there; says whether that took the whole text."""
        if self.complete is not None:
            return list(self.complete), True
        wanted = max(limit, 1)
        size = wanted * _CHARACTERS_PER_TOKEN
        while size < len(self.text):
            tokens = self.encode(tidy(self.text[-size:] if from_end else self.text[:size]))
            # One spare token: the one at the cut may be half a word.
            if len(tokens) > limit or size >= wanted * _MOST_CHARACTERS_PER_TOKEN:
                return list(tokens), False
            size *= 2
        return list(self.encode(tidy(self.text))), True


def frame_prompt(messages: Sequence[FramedMessage], encode: Encode, parameters: FrameParameters) -> Frame:
    """Cuts a conversation to the frame. `messages` holds at least one; the last one is the user's.

    The work is bounded: however long the messages, only windows at their ends are encoded, plus a sample for the count.
    """
    *earlier, last = messages
    system = [message for message in earlier if message.role == "system"][:1]
    turns = [message for message in earlier if message.role != "system"]
    separator = list(encode(_SEPARATOR))
    cut = _Cutter(encode, parameters.head_share, separator)

    room = parameters.token_limit
    system_part = cut.take(system, room, parameters.system_token_limit)
    room -= len(system_part)
    reserve = min(parameters.earlier_token_reserve, room) if turns else 0
    last_part = cut.excerpt(last.content, room - reserve)
    room -= len(last_part)
    turns_part = cut.take(reversed(turns), room, parameters.turn_token_limit)

    token_ids = (*system_part, *turns_part, *last_part)
    count = _token_count([message.content for message in messages], encode, parameters.exact_count_characters)
    return Frame(token_ids, prompt_token_count=count, truncated=cut.truncated)


class _Cutter:
    """Cuts parts out of messages and remembers whether anything was left out."""

    def __init__(self, encode: Encode, head_share: float, separator: list[int]) -> None:
        self._encode = encode
        self._head_share = head_share
        self._separator = separator
        self.truncated = False

    def excerpt(self, text: str, limit: int) -> list[int]:
        """Returns head and tail of one text within `limit` tokens."""
        tokens, cut = _Excerpt(text, self._encode, self._head_share).within(limit)
        self.truncated |= cut
        return tokens

    def take(self, newest_first: Iterable[FramedMessage], room: int, limit_each: int) -> list[int]:
        """Returns the parts of several messages, oldest first, each followed by a separator."""
        parts: list[list[int]] = []
        for message in newest_first:
            limit = min(limit_each, room) - len(self._separator)
            if limit <= 0:
                self.truncated = True
                break
            part = self.excerpt(message.content, limit) + self._separator
            parts.insert(0, part)
            room -= len(part)
        return [token for part in parts for token in part]


def _token_count(texts: Sequence[str], encode: Encode, exact_characters: int) -> int:
    """Counts tokens; what lies beyond `exact_characters` is assumed to be as dense as what lies before."""
    total_characters = sum(map(len, texts))
    left = exact_characters
    counted_tokens = counted_characters = 0
    for text in texts:
        sample = text[:left]
        counted_tokens += len(encode(sample)) if sample else 0
        counted_characters += len(sample)
        left -= len(sample)
        if left <= 0:
            break
    if counted_characters == total_characters:
        return counted_tokens
    return round(counted_tokens * total_characters / counted_characters)
