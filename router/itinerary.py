"""What follows from how a call to a backend ended: one table, and the order in which backends are tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from router.answer import AttemptOutcome
from router.fleet import Guarded
from router.request import Tier


class Onward(Enum):
    """Where a request goes from a backend that did not answer it."""

    NEXT = "a sibling, else a tier up, else a tier down"
    LARGER_WINDOW = "as NEXT, but only to backends with a larger context window"
    NOWHERE = "the same would happen everywhere"


class Blame(Enum):
    """What the breaker of the backend is told."""

    FAILED = "it is to blame"
    LATE = "it is to blame if it had long enough"
    WAIT = "it asked to be left alone for a while"
    NONE = "it is well"


@dataclass(frozen=True)
class Consequence:
    """What follows from an outcome. `read`: the prompt was read, and is billed even if the backend tells no tokens."""

    onward: Onward
    blame: Blame
    read: bool


CONSEQUENCES: Mapping[AttemptOutcome, Consequence] = {
    AttemptOutcome.ANSWERED: Consequence(Onward.NOWHERE, Blame.NONE, read=True),
    AttemptOutcome.UNAUTHENTICATED: Consequence(Onward.NEXT, Blame.FAILED, read=False),
    AttemptOutcome.UNAVAILABLE: Consequence(Onward.NEXT, Blame.FAILED, read=False),
    AttemptOutcome.BAD_REQUEST: Consequence(Onward.NOWHERE, Blame.NONE, read=False),
    AttemptOutcome.RATE_LIMITED: Consequence(Onward.NEXT, Blame.WAIT, read=False),
    AttemptOutcome.TIMEOUT: Consequence(Onward.NEXT, Blame.LATE, read=True),
    AttemptOutcome.CUT_OFF: Consequence(Onward.NEXT, Blame.FAILED, read=True),
    AttemptOutcome.CONTENT_FILTERED: Consequence(Onward.NOWHERE, Blame.NONE, read=True),
    AttemptOutcome.CONTEXT_TOO_LONG: Consequence(Onward.LARGER_WINDOW, Blame.NONE, read=False),
    AttemptOutcome.BACKEND_ERROR: Consequence(Onward.NEXT, Blame.FAILED, read=False),
    AttemptOutcome.CANCELLED: Consequence(Onward.NOWHERE, Blame.NONE, read=True),
}


def tier_order(chosen: Tier, allowed: Sequence[Tier]) -> tuple[Tier, ...]:
    """Returns the chosen tier, then those above it from the nearest on, then those below it from the nearest on."""
    above = sorted(tier for tier in allowed if tier > chosen)
    below = sorted((tier for tier in allowed if tier < chosen), reverse=True)
    return (chosen, *above, *below)


class Itinerary:
    """The backends still to be tried, in order. Each is tried once at most."""

    def __init__(self, candidates: Sequence[Guarded]) -> None:
        self._ahead = list(candidates)

    def next(self) -> Guarded | None:
        """Returns the next backend and takes it off the list; None when there is none left."""
        return self._ahead.pop(0) if self._ahead else None

    def leave(self, candidate: Guarded, outcome: AttemptOutcome) -> None:
        """Takes off the list what can't help after a call to `candidate` has ended so."""
        onward = CONSEQUENCES[outcome].onward
        if onward is Onward.NOWHERE:
            self._ahead.clear()
        elif onward is Onward.LARGER_WINDOW:
            window = candidate.backend.context_window
            self._ahead = [ahead for ahead in self._ahead if ahead.backend.context_window > window]

    def has_more(self) -> bool:
        """Whether any backend is left that takes calls at this moment."""
        return any(ahead.breaker.admits() for ahead in self._ahead)

    def __repr__(self) -> str:
        return f"<Itinerary {', '.join(ahead.backend.name for ahead in self._ahead) or 'at its end'}>"
