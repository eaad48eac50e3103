"""A conversation that can't be answered is refused, and the field is named."""

import pytest
from tinyroute.prompt.v1 import prompt_pb2

from servicekit.errors import InvalidArgument
from servicekit.prompts import MAX_CONTENT_BYTES, check_prompt

SYSTEM, USER, ASSISTANT = prompt_pb2.ROLE_SYSTEM, prompt_pb2.ROLE_USER, prompt_pb2.ROLE_ASSISTANT


def messages(*turns: tuple[int, str]) -> list[prompt_pb2.Message]:
    """Messages of (role, content)."""
    return [prompt_pb2.Message(role=role, content=content) for role, content in turns]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "turns",
    [
        [(USER, "hi")],
        [(SYSTEM, "be brief"), (USER, "hi"), (ASSISTANT, "hello"), (USER, "and?")],
        [(USER, "a"), (USER, "b")],
        [(USER, "\x00\x1b[2J")],
        [(USER, "x" * MAX_CONTENT_BYTES)],
    ],
)
def test_what_can_be_answered_passes(turns: list[tuple[int, str]]) -> None:
    """Control characters and NUL are text."""
    check_prompt(messages(*turns))


@pytest.mark.parametrize(
    ("turns", "field"),
    [
        ([], "messages"),
        ([(USER, "hi"), (SYSTEM, "be brief"), (USER, "x")], "messages[1].role"),
        ([(SYSTEM, "a"), (SYSTEM, "b"), (USER, "x")], "messages[1].role"),
        ([(SYSTEM, "only")], "messages[0].role"),
        ([(USER, "hi"), (ASSISTANT, "hello")], "messages[1].role"),
        ([(USER, " \n\t\u3000")], "messages[0].content"),
        ([(USER, "é" * 65_536), (USER, "x" * 131_073)], "messages"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_field(turns: list[tuple[int, str]], field: str) -> None:
    """With the path as callers write it."""
    with pytest.raises(InvalidArgument) as caught:
        check_prompt(messages(*turns))
    assert field in [violation.field for violation in caught.value.fields]


def test_the_field_has_the_callers_own_name() -> None:
    """Where the prompt is a part of something."""
    with pytest.raises(InvalidArgument) as caught:
        check_prompt([], field="requests[3].messages")
    assert caught.value.fields[0].field == "requests[3].messages"
