"""What a tenant may spend: reserved before a call, settled after it."""

from typing import Protocol

from router.request import Tier
from servicekit.errors import QuotaViolation


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

    def settle(self, micros: int | None) -> None:
        """Gives back what was set aside and books what was spent."""
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

    def settle(self, _micros: int | None) -> None:
        """Does nothing."""
