"""What a tenant may spend: set aside before a call, settled after it. Integer micro-dollars; days are UTC's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from router.ports import WallClock
from router.purse import BudgetLimits, Purse
from router.request import Tier
from servicekit.errors import QuotaViolation

TOP_TIER = Tier.LARGE


class Reservation(Protocol):
    """The money set aside for one request."""

    def cover(self, tier: Tier, micros: int | None) -> bool:
        """Raises what is set aside to `micros` in all, for a call to `tier`; False when that can't be paid.

        None is a price that is not known: no budget pays for it.
        """
        ...

    def has_money(self) -> bool:
        """Whether any money is left, so that a paid analysis may be made."""
        ...

    def settle(self, micros: int | None, tier: Tier | None = None) -> None:
        """Gives back what was set aside and books what was spent, all of it when that is not known."""
        ...


class Budgets(Protocol):
    """The budgets of all tenants."""

    def objection(self, tenant: str, tier: Tier, micros: int | None) -> QuotaViolation | None:
        """Returns the budget that does not pay for a call to `tier` that may cost so much; None when all do."""
        ...

    def open(self, tenant: str) -> Reservation:
        """Returns a reservation with nothing set aside yet. It must be settled once."""
        ...


class Unlimited:
    """Budgets of people who have set none; a reservation too."""

    def objection(self, _tenant: str, _tier: Tier, _micros: int | None) -> QuotaViolation | None:
        """Returns None."""
        return None

    def open(self, _tenant: str) -> Reservation:
        """Returns a reservation that covers everything."""
        return self

    def cover(self, _tier: Tier, _micros: int | None) -> bool:
        """Returns True."""
        return True

    def has_money(self) -> bool:
        """Returns True."""
        return True

    def settle(self, _micros: int | None, _tier: Tier | None = None) -> None:
        """Does nothing."""


@dataclass
class TenantBudgets:
    """Budgets by tenant in this process's memory. A tenant without limits of its own has the default ones, if any."""

    limits: Mapping[str, BudgetLimits]
    now: WallClock
    default: BudgetLimits | None = None
    _purses: dict[str, Purse] = field(default_factory=dict)

    def objection(self, tenant: str, tier: Tier, micros: int | None) -> QuotaViolation | None:
        """Returns the budget that does not pay for a call to `tier` that may cost so much; None when all do."""
        purse = self._purse(tenant)
        return None if purse is None else purse.objection(micros, self.now(), top=tier is TOP_TIER)

    def open(self, tenant: str) -> Reservation:
        """Returns a reservation with nothing set aside yet."""
        purse = self._purse(tenant)
        return Unlimited() if purse is None else PurseReservation(purse, self.now)

    def restore(self, tenant: str, spent_today_micros: int, top_tier_micros: int) -> None:
        """Takes over what the ledger says was spent today before this process began."""
        purse = self._purse(tenant)
        if purse is not None:
            purse.restore(spent_today_micros, top_tier_micros, self.now())

    def day_shares(self) -> dict[str, float]:
        """Which share of the day's budget each tenant with limits of its own has spent, for metrics."""
        purses = {tenant: self._purses.get(tenant) for tenant in self.limits}
        shares = {tenant: purse.day_share(self.now()) for tenant, purse in purses.items() if purse is not None}
        return {tenant: share for tenant, share in shares.items() if share is not None}

    def _purse(self, tenant: str) -> Purse | None:
        limits = self.limits.get(tenant, self.default)
        if limits is None:
            return None
        purse = self._purses.setdefault(tenant, Purse(tenant, limits))
        purse.limits = limits
        return purse


class PurseReservation:
    """Money of one purse set aside for one request."""

    def __init__(self, purse: Purse, now: WallClock) -> None:
        self._purse = purse
        self._now = now
        self._held = 0
        self._held_top = 0
        self._settled = False

    def cover(self, tier: Tier, micros: int | None) -> bool:
        """Raises what is set aside to `micros` in all, for a call to `tier`; False, and no change, when it can't."""
        top = tier is TOP_TIER
        more = None if micros is None else max(0, micros - self._held)
        if self._purse.objection(more, self._now(), top=top) is not None or more is None:
            return False
        self._purse.hold(more, top=top)
        self._held += more
        self._held_top += more if top else 0
        return True

    def has_money(self) -> bool:
        """Whether any money is left, so that a paid analysis may be made."""
        return self._purse.objection(1, self._now(), top=False) is None

    def settle(self, micros: int | None, tier: Tier | None = None) -> None:
        """Gives back what was set aside and books what was spent, once; all of it when that is not known."""
        if self._settled:
            return
        self._settled = True
        self._purse.release(self._held, self._held_top)
        self._purse.book(self._held if micros is None else micros, self._now(), top=tier is TOP_TIER)

    def __repr__(self) -> str:
        return f"<Reservation of {self._held} micro-dollars in {self._purse!r}>"
