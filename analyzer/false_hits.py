"""How often a similar hit was wrong, and whether the similar cache may go on answering."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from analyzer.analysis import Ability, Analysis

_REFERENCE_QUALITY = 0.95


@dataclass(frozen=True, slots=True)
class FalseHitSettings:
    """When hits are checked and when there are too many wrong ones."""

    checked_share: float = 0.015
    """Share of the similar hits that are analysed again in the background."""

    most_wrong_share: float = 0.02
    """Above it the cache switches itself off; below half of it, on again."""

    window: int = 200
    """So many checks count."""

    enough: int = 50
    """Fewer checks switch nothing off."""


class FalseHits:
    """Watches the similar cache."""

    def __init__(self, settings: FalseHitSettings | None = None) -> None:
        self._settings = settings or FalseHitSettings()
        self._checks: deque[bool] = deque(maxlen=self._settings.window)
        self._on = True

    def __repr__(self) -> str:
        state = "on" if self._on else "off"
        return f"<FalseHits {sum(self._checks)} of {len(self._checks)} wrong, similar cache {state}>"

    @property
    def cache_on(self) -> bool:
        """Whether similar hits may be given as answers. While off, each would-be hit is still checked."""
        return self._on

    @property
    def wrong_share(self) -> float:
        """Share of wrong hits among the last checks, 0..1."""
        return sum(self._checks) / len(self._checks) if self._checks else 0.0

    def is_checked(self, draw: float) -> bool:
        """Says whether a hit is checked, given a random number of [0, 1)."""
        return draw < self._settings.checked_share

    def record(self, kept: Analysis, anew: Analysis) -> bool:
        """Notes a check; returns whether the hit was wrong."""
        wrong = reference_ability(kept) is not reference_ability(anew)
        self._checks.append(wrong)
        if len(self._checks) >= self._settings.enough:
            limit = self._settings.most_wrong_share if self._on else self._settings.most_wrong_share / 2
            self._on = self.wrong_share <= limit
        return wrong


def reference_ability(analysis: Analysis) -> Ability:
    """Returns the weakest ability that is nearly as good as the strongest: what a default policy would choose."""
    needed = _REFERENCE_QUALITY * analysis.success[Ability.FRONTIER]
    return next(ability for ability in Ability if analysis.success[ability] >= needed)
