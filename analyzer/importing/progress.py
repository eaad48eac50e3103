"""How long work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Hears what is done and what there is in all (0 while unknown), in the unit of the one who reports."""


def silent(_done: int, _total: int) -> None:
    """Tells nobody."""
