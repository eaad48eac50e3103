"""The shape of a prompt, as far as rules on single fields can't express it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinyroute.prompt.v1 import prompt_pb2

from servicekit.errors import FieldViolation
from servicekit.validation import invalid_fields

MAX_CONTENT_BYTES = 262_144


def check_prompt(messages: Sequence[prompt_pb2.Message], field: str = "messages") -> None:
    """Raises InvalidArgument, naming the field, unless the conversation is one that can be answered.

    At most one system message, and that first; the last message from the user and not blank; at most 256 KiB of content
    in sum. Any valid UTF-8 is taken, control characters and NUL included.
    """
    violations = tuple(_violations(messages, field))
    if violations:
        raise invalid_fields(violations)


def _violations(messages: Sequence[prompt_pb2.Message], field: str) -> Iterable[FieldViolation]:
    if not messages:
        yield FieldViolation(field, "must contain at least 1 item(s)")
        return
    for index, message in enumerate(messages):
        if index and message.role == prompt_pb2.ROLE_SYSTEM:
            yield FieldViolation(f"{field}[{index}].role", "a system message must be the first one, and the only one")
    last, at = messages[-1], f"{field}[{len(messages) - 1}]"
    if last.role != prompt_pb2.ROLE_USER:
        yield FieldViolation(f"{at}.role", "the last message must be the user's")
    if not last.content.strip():
        yield FieldViolation(f"{at}.content", "the last message must not be blank")
    size = sum(len(message.content.encode()) for message in messages)
    if size > MAX_CONTENT_BYTES:
        yield FieldViolation(field, f"{size} bytes of content, more than the {MAX_CONTENT_BYTES} allowed in sum")
