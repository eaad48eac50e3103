"""Configuration: one versioned YAML file and the environment, as a frozen model; every mistake with its place.

The environment overrides the file: `TINYROUTE_ANALYZER__LISTEN__PORT=50052` sets `listen.port` when the service's
prefix is `TINYROUTE_ANALYZER`. A value that starts with `[` or `{` is read as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from servicekit.yamlfile import Document, YamlSyntaxError, dump_yaml, parse_yaml

SEPARATOR = "__"
MASK = "**********"

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")


class ConfigError(Exception):
    """A configuration that can't be used; one line a mistake: `file:line: field: what is wrong`."""


class ConfigModel(BaseModel):
    """Base of everything in a configuration: frozen, unknown keys refused, values never repeated in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


Model = TypeVar("Model", bound=BaseModel)


def load_config(model: type[Model], path: Path | None, environment: Mapping[str, str], prefix: str) -> Model:
    """Returns the configuration in a file (defaults alone when None) under the environment's overrides.

    Raises ConfigError naming file and line, or environment variable, and field of every mistake.
    """
    document = _read(path) if path is not None else Document({})
    source = str(path) if path is not None else "defaults"
    if not isinstance(document.value, dict):
        raise ConfigError(f"{source}:1: must be a mapping of settings, such as 'listen: {{port: 50051}}'")
    overrides = _Overrides(document)
    overrides.apply(environment, prefix)
    try:
        return model.model_validate(overrides.value)
    except ValidationError as error:
        raise ConfigError("\n".join(_mistakes(error, source, document, overrides))) from error


def effective(config: BaseModel) -> dict[str, Any]:
    """Returns the configuration as plain values, secrets and passwords inside addresses masked."""
    masked = _masked(config.model_dump(mode="python"))
    assert isinstance(masked, dict)  # noqa: S101 - a model dumps to a dict
    return masked


def effective_yaml(config: BaseModel) -> str:
    """Returns the masked configuration as YAML that `load_config` reads."""
    return dump_yaml(effective(config))


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the JSON Schema of a configuration, for editors and validators."""
    schema = model.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


class _Overrides:
    """File values with the environment's laid over them, and which variable set what."""

    def __init__(self, document: Document) -> None:
        self.value = document.value
        self._lines = document.lines
        self._variables: dict[tuple[str | int, ...], str] = {}

    def apply(self, environment: Mapping[str, str], prefix: str) -> None:
        """Applies every variable with the prefix, in the order of their names."""
        start = prefix + SEPARATOR
        for name in sorted(environment):
            if name.startswith(start):
                self._set(name, name.removeprefix(start).split(SEPARATOR), environment[name])

    def variable(self, path: Sequence[str | int]) -> str | None:
        """Returns the variable that set a value, something above it, or (where the file has none) below it."""
        known = tuple(path)
        if known not in self._lines:
            below = [name for at, name in self._variables.items() if at[: len(known)] == known]
            if below:
                return below[0]
        while known:
            if known in self._variables:
                return self._variables[known]
            known = known[:-1]
        return None

    def _set(self, variable: str, parts: list[str], text: str) -> None:
        node, path = self.value, []
        for part in parts[:-1]:
            key = _key(node, part, variable)
            path.append(key)
            if isinstance(node, dict) and not isinstance(node.get(key), dict | list):
                node[key] = {}
            node = node[key]
        key = _key(node, parts[-1], variable)
        node[key] = _override_value(variable, text)
        self._variables[*path, key] = variable


def _key(node: Any, part: str, variable: str) -> Any:
    """Returns the key of a mapping (whatever its case) or the index into a list that a part of a name means."""
    if isinstance(node, list):
        if not (part.isdecimal() and int(part) < len(node)):
            raise ConfigError(f"{variable}: {part!r} is no index into a list of {len(node)}")
        return int(part)
    folded = {str(key).casefold(): key for key in node}
    return folded.get(part.casefold(), part.lower())


def _override_value(variable: str, text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return parse_yaml(text).value
    except YamlSyntaxError as error:
        raise ConfigError(f"{variable}: {error.problem}") from error


def _read(path: Path) -> Document:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except YamlSyntaxError as error:
        raise ConfigError(f"{path}:{error.line}: {error.problem}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from error


def _mistakes(error: ValidationError, source: str, document: Document, overrides: _Overrides) -> list[str]:
    lines = []
    for mistake in error.errors(include_input=False, include_url=False):
        path = mistake["loc"]
        field = ".".join(map(str, path)) or "the whole file"
        problem = (
            "unknown key" if mistake["type"] == "extra_forbidden" else mistake["msg"].removeprefix("Value error, ")
        )
        place = overrides.variable(path) or f"{source}:{document.line(path)}"
        lines.append(f"{place}: {field}: {problem}")
    return lines


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {_masked(key): _masked(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(each) for each in value]
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str):
        return _PASSWORD_IN_URL.sub(f"{MASK}@", str(value))
    if isinstance(value, bool | int | float):
        return value
    return str(value)
