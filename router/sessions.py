"""What tier a conversation has reached, so that follow-ups don't move down while it lasts."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from router.request import Tier
from servicekit.deadline import Clock


@dataclass(frozen=True)
class SessionLimits:
    """How long after its last use a session is remembered, and how many are at most."""

    seconds: float = 3600.0
    count_max: int = 100_000


class Sessions:
    """Remembers sessions per tenant, in memory; the ones unused for longest are forgotten first."""

    def __init__(self, limits: SessionLimits | None = None, clock: Clock = time.monotonic) -> None:
        self._limits = limits or SessionLimits()
        self._clock = clock
        self._reached: OrderedDict[tuple[str, str], tuple[Tier, float]] = OrderedDict()

    def tier(self, tenant: str, session_id: str) -> Tier | None:
        """Returns the tier the session has reached; None for no session, a new one, or one that is over."""
        found = self._reached.get((tenant, session_id)) if session_id else None
        if found is None or self._clock() - found[1] > self._limits.seconds:
            return None
        return found[0]

    def used(self, tenant: str, session_id: str, tier: Tier) -> None:
        """Notes an answer from `tier` in the session; a session never goes back down."""
        if not session_id:
            return
        before = self.tier(tenant, session_id)
        self._reached[tenant, session_id] = (tier if before is None else max(before, tier), self._clock())
        self._reached.move_to_end((tenant, session_id))
        self._forget()

    def _forget(self) -> None:
        now = self._clock()
        while self._reached:
            _, last_used = next(iter(self._reached.values()))
            if len(self._reached) <= self._limits.count_max and now - last_used <= self._limits.seconds:
                return
            self._reached.popitem(last=False)

    def __repr__(self) -> str:
        return f"<Sessions {len(self._reached)} of at most {self._limits.count_max}>"
