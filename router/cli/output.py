"""JSON for programs, text for people, and nothing of a model's answer that could drive a terminal."""

import sys

from google.protobuf import json_format
from google.protobuf.message import Message

CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(13, 32), *range(127, 160)))
"""Everything but tab and line feed."""


def wants_json(*, asked: bool) -> bool:
    """Whether the output is for a program: asked for, or not a terminal."""
    return asked or not sys.stdout.isatty()


def as_json(message: Message, *, lines: bool = False) -> str:
    """The protobuf JSON form, with the names of the .proto; on one line where many follow each other."""
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None if lines else 2,
    )


def printable(text: str) -> str:
    """`text` without control characters."""
    return text.translate(CONTROLS)


def dollars(micros: int) -> str:
    """An amount, to the micro-dollar."""
    sign = "-" if micros < 0 else ""
    return f"{sign}${abs(micros) / 1_000_000:.6f}"
