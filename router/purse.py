"""The money of one tenant: spent, set aside, left. Plain arithmetic; one process, one event loop, no lock."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from servicekit.errors import QuotaViolation

TOP_TIER_GRACE_MICROS = 100_000
"""Without a budget for the day, the top tier's share counts from here: else the first request could not have it."""


@dataclass(frozen=True)
class BudgetLimits:
    """What may be spent a day and a minute, and which share of the day's money at the top tier; None is no limit.

    The share is one of the day's budget or, without that, of what was spent today.
    """

    micros_per_day: int | None = None
    micros_per_minute: int | None = None
    top_tier_share: float | None = None


@dataclass
class Window:
    """Money spent since `start`, for as long as `length`."""

    length: timedelta
    start: datetime | None = None
    spent: int = 0

    def turn(self, now: datetime) -> None:
        """Begins anew when another day or minute has begun."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        start = midnight + (now - midnight) // self.length * self.length
        if self.start is None or start > self.start:
            self.start, self.spent = start, 0

    def reset_seconds(self, now: datetime) -> float:
        """Returns seconds until the next window."""
        return 0.0 if self.start is None else max(0.0, (self.start + self.length - now).total_seconds())


class Purse:
    """Spent and set aside by one tenant."""

    def __init__(self, tenant: str, limits: BudgetLimits) -> None:
        self.tenant = tenant
        self.limits = limits
        self._day = Window(timedelta(days=1))
        self._minute = Window(timedelta(minutes=1))
        self._top = Window(timedelta(days=1))
        self._held = 0
        self._held_top = 0

    def objection(self, micros: int | None, now: datetime, *, top: bool) -> QuotaViolation | None:
        """Returns the first limit that `micros` more would break; an amount that is not known breaks any limit."""
        for window, name, limit, held in self._bounds(now, top=top):
            spent = window.spent + held
            if micros is None or spent + micros > limit:
                subject = f"{name} of tenant {self.tenant}"
                return QuotaViolation(subject, spent, limit, window.reset_seconds(now))
        return None

    def hold(self, micros: int, *, top: bool) -> None:
        """Sets money aside."""
        self._held += micros
        self._held_top += micros if top else 0

    def release(self, micros: int, top_micros: int) -> None:
        """Gives back what was set aside."""
        self._held -= micros
        self._held_top -= top_micros

    def book(self, micros: int, now: datetime, *, top: bool) -> None:
        """Books what was spent."""
        self._turn(now)
        self._day.spent += micros
        self._minute.spent += micros
        self._top.spent += micros if top else 0

    def restore(self, day_micros: int, top_micros: int, now: datetime) -> None:
        """Takes over what was spent today before this purse was opened, if that is more than it knows of."""
        self._turn(now)
        self._day.spent = max(self._day.spent, day_micros)
        self._top.spent = max(self._top.spent, top_micros)

    def day_share(self, now: datetime) -> float | None:
        """Returns the share of the day's budget that is spent; None without such a budget."""
        self._turn(now)
        limit = self.limits.micros_per_day
        return self._day.spent / limit if limit else None

    def _turn(self, now: datetime) -> None:
        for window in (self._day, self._minute, self._top):
            window.turn(now)

    def _bounds(self, now: datetime, *, top: bool) -> list[tuple[Window, str, int, int]]:
        """Returns the limits that count: window, name, limit, what is set aside."""
        self._turn(now)
        limits, bounds = self.limits, []
        if limits.micros_per_day is not None:
            bounds.append((self._day, "daily budget", limits.micros_per_day, self._held))
        if limits.micros_per_minute is not None:
            bounds.append((self._minute, "budget per minute", limits.micros_per_minute, self._held))
        if top and limits.top_tier_share is not None:
            spent = max(self._day.spent + self._held, TOP_TIER_GRACE_MICROS)
            base = spent if limits.micros_per_day is None else limits.micros_per_day
            bounds.append((self._top, "top tier's share", int(base * limits.top_tier_share), self._held_top))
        return bounds

    def __repr__(self) -> str:
        return f"<Purse {self.tenant}: {self._day.spent} micro-dollars spent today, {self._held} set aside>"
