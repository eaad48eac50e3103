"""Prompt and answer on spans: only where an operator switched it on, redacted, then cut."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from router.request import Message

REDACTED = "[redacted]"
SECRETS = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"  # mail addresses
    r"|\b(?:sk|pk|ghp|gho|xox[a-z]|AKIA)[-_A-Za-z0-9]{12,}"  # keys with a maker's mark
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web tokens
    r"|\b[A-Fa-f0-9]{32,}\b"  # digests and keys
    r"|(?<!\d)\+?\d[\d ()/-]{7,20}\d(?!\d)"  # telephone, card and account numbers
)


@dataclass(frozen=True)
class ContentCapture:
    """What of a text a span may show."""

    characters_max: int

    def text(self, text: str) -> str:
        """The text without what looks like a secret or a person's number, cut."""
        # Cut first at twice the length, so that the search is bounded and nothing is half redacted at the cut.
        clean = SECRETS.sub(REDACTED, text[: 2 * self.characters_max + 256])
        return clean if len(clean) <= self.characters_max else clean[: self.characters_max] + "…"

    def prompt(self, messages: Sequence[Message]) -> str:
        """The last message in the form of the GenAI conventions."""
        return _as_json(messages[-1].role.value, self.text(messages[-1].content))

    def answer(self, text: str) -> str:
        """An answer in the form of the GenAI conventions."""
        return _as_json("assistant", self.text(text))


def _as_json(role: str, content: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": content}]}], ensure_ascii=False)
