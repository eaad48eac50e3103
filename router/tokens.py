"""A rough count of tokens, for when nobody who knows has told. Meant to be too high sooner than too low."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.request import Message


@dataclass(frozen=True)
class RoughTokens:
    """Counts a token for every few ASCII characters and for every other character.

    English text has 4 to 4.5 characters a token in the vocabularies of today, code and digits about 3; scripts beyond
    ASCII one or two tokens a character in small vocabularies, less than one in large ones.
    """

    ascii_characters_per_token: float = 3.5
    tokens_per_message: int = 4
    tokens_per_prompt: int = 3

    def text(self, text: str) -> int:
        """Returns about how many tokens a text has; 0 for none, at least 1 for any."""
        others = 0 if text.isascii() else sum(character > "\x7f" for character in text)
        return -int(-(len(text) - others) // self.ascii_characters_per_token) + others

    def prompt(self, messages: Sequence[Message]) -> int:
        """Returns about how many tokens a conversation has, with what a chat template adds."""
        content = sum(self.text(message.content) for message in messages)
        return content + self.tokens_per_message * len(messages) + self.tokens_per_prompt
