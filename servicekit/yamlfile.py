"""A YAML file as plain values, with the line of each. The one importer of ruamel.yaml."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Path = tuple[str | int, ...]


class YamlSyntaxError(Exception):
    """Text that is not YAML; `line` counts from 1, 0 when it is not known."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class Document:
    """Plain dicts, lists and scalars, and the line (from 1) on which each value's key or item stands."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line(self, path: Sequence[str | int]) -> int:
        """Returns the line of a value, or of the nearest thing above it that is in the file."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 1)


def parse_yaml(text: str) -> Document:
    """Returns the document; an empty text is an empty mapping. Raises YamlSyntaxError, repeated keys included."""
    try:
        node = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        first_line = (error.problem or str(error)).splitlines()[0]
        raise YamlSyntaxError(mark.line + 1 if mark else 0, first_line) from error
    except YAMLError as error:
        raise YamlSyntaxError(0, str(error).splitlines()[0]) from error
    lines: dict[Path, int] = {}
    value = _plain(node, (), lines)
    return Document({} if value is None else value, lines)


def dump_yaml(value: Any) -> str:
    """Returns plain values as YAML, keys in their order."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    writer.dump(value, out)
    return out.getvalue()


def _plain(node: Any, path: Path, lines: dict[Path, int]) -> Any:
    if isinstance(node, CommentedMap):
        result = {}
        for key, value in node.items():
            lines[*path, key] = node.lc.key(key)[0] + 1
            result[key] = _plain(value, (*path, key), lines)
        return result
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[*path, index] = node.lc.item(index)[0] + 1
        return [_plain(value, (*path, index), lines) for index, value in enumerate(node)]
    return _plain_scalar(node)


def _plain_scalar(node: Any) -> Any:
    """Returns a scalar without the round-trip types, which remember how a number was written."""
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
