"""Secrets by reference: a configuration names where one is kept, and never holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator


class SecretError(Exception):
    """A secret that can't be read; the message says which variable or file, never what was in it."""


class SecretRef(BaseModel):
    """Where a secret is: `{env: NAME}` or `{file: PATH}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str | None = None
    """Name of an environment variable."""

    file: Path | None = None
    """Path of a file; one line break at its end is not part of the secret."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_reference(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("write {env: NAME} or {file: PATH}, never the secret itself")  # noqa: TRY004 - for pydantic
        return value

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("set exactly one of env and file")
        return self

    def read(self, environment: Mapping[str, str] = os.environ) -> SecretStr:
        """Returns the secret; raises SecretError when the variable is unset, the file unreadable, or either empty."""
        text, place = self._text(environment)
        if not text:
            raise SecretError(f"{place} is empty")
        return SecretStr(text)

    def _text(self, environment: Mapping[str, str]) -> tuple[str, str]:
        if self.env is not None:
            if self.env not in environment:
                raise SecretError(f"environment variable {self.env} is not set")
            return environment[self.env], f"environment variable {self.env}"
        try:
            return Path(str(self.file)).read_text(encoding="utf-8").removesuffix("\n"), f"file {self.file}"
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise SecretError(f"file {self.file} can't be read: {reason}") from error
