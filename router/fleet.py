"""The backends of all tiers, each behind its own breaker, and how they share a tier's requests."""

import random as randomness
from collections.abc import Callable
from dataclasses import dataclass

from router.breaker import Breaker
from router.ports import Backend, Random
from router.request import Tier

ROOM_FOR_AN_ANSWER = 256
"""Tokens that must be left in a context window when the caller does not say how long the answer may get."""


@dataclass(frozen=True)
class Guarded:
    """A backend behind its breaker."""

    backend: Backend
    breaker: Breaker

    def room(self, prompt_tokens: int, wanted: int | None) -> int | None:
        """Returns how many tokens of answer to ask for; None when prompt and answer don't fit into the window."""
        left = self.backend.context_window - prompt_tokens
        if wanted is not None:
            return wanted if wanted <= left else None
        if left < min(ROOM_FOR_AN_ANSWER, self.backend.max_output_tokens):
            return None
        return min(self.backend.max_output_tokens, left)


@dataclass(frozen=True)
class Fleet:
    """All backends there are."""

    members: tuple[Guarded, ...]
    random: Random = randomness.random

    def of(self, tier: Tier) -> tuple[Guarded, ...]:
        """Returns a tier's backends in the order they are configured."""
        return tuple(member for member in self.members if member.backend.tier is tier)

    def tiers(self) -> tuple[Tier, ...]:
        """Returns the tiers that have a backend, weakest first."""
        return tuple(sorted({member.backend.tier for member in self.members}))

    def drawn(self, tier: Tier) -> list[Guarded]:
        """Returns a tier's backends in random order; each comes first as often as its weight says.

        The keys random ** (1 / weight) give a draw without replacement (Efraimidis and Spirakis, 2006).
        """
        return sorted(self.of(tier), key=self._key(), reverse=True)

    def _key(self) -> Callable[[Guarded], float]:
        return lambda member: self.random() ** (1.0 / member.backend.weight)

    def top_model(self) -> str | None:
        """Returns the model of most requests to the strongest tier: what "always the top tier" would have used."""
        tiers = self.tiers()
        if not tiers:
            return None
        return max(self.of(tiers[-1]), key=lambda member: member.backend.weight).backend.model
