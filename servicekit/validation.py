"""The rules written into the protos, checked. The one importer of protovalidate."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import protovalidate
from google.protobuf.message import Message

from servicekit.errors import FieldViolation, InvalidArgument

FieldFilter = Callable[[str], bool]

_MOST_FIELDS_IN_SENTENCE = 3


class MessageValidator:
    """Checks messages against their own rules. Shared by all calls: it compiles the rules of a type once."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def check(self, message: Message, *, ignoring: FieldFilter | None = None) -> None:
        """Raises InvalidArgument naming every field that breaks a rule, except those whose path `ignoring` accepts."""
        violations = self._validator.collect_violations(message)
        if not violations:
            return
        fields = [FieldViolation(_path(each), each.proto.message or each.proto.rule_id) for each in violations]
        if ignoring is not None:
            fields = [each for each in fields if not ignoring(each.field)]
        if fields:
            raise invalid_fields(fields)


def invalid_fields(fields: Iterable[FieldViolation]) -> InvalidArgument:
    """Returns the error for wrong fields: one sentence that names the first few, details that name all."""
    named = tuple(fields)
    told = "; ".join(f"{each.field}: {each.description}" for each in named[:_MOST_FIELDS_IN_SENTENCE])
    more = len(named) - _MOST_FIELDS_IN_SENTENCE
    rest = f"; and {more} more" if more > 0 else ""
    return InvalidArgument("INVALID_FIELD", f"The request is not valid: {told}{rest}.", named)


def _path(violation: protovalidate.Violation) -> str:
    """Returns a path as callers write it: `messages[0].role`, `constraints.labels["team"]`."""
    path = ""
    field = violation.proto.field
    for element in field.elements if field is not None else ():
        path += f".{element.field_name}" if path else element.field_name
        path += _subscript(element)
    return path or "request"


def _subscript(element: protovalidate.FieldPathElementPb) -> str:
    subscript = element.subscript
    if subscript is None:
        return ""
    value = subscript.value
    return f'["{value}"]' if isinstance(value, str) else f"[{value}]"
