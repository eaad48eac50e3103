"""What a caller asks to have analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyzer.jobs import Lane
from servicekit.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation whose last message is the user's, whose it is, and by when the answer is wanted."""

    messages: Sequence[Message]
    tenant: str
    deadline: Deadline
    bypass_cache: bool = False
    lane: Lane = Lane.SINGLE

    @property
    def character_count(self) -> int:
        """Characters of all messages."""
        return sum(len(message.content) for message in self.messages)
