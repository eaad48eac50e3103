"""What configuration and policy say at one moment. Replaced as a whole; a request keeps to the ones it began with."""

from dataclasses import dataclass

from router.fleet import Fleet
from router.policy import Policy
from router.pricing import PriceBook


@dataclass(frozen=True)
class Terms:
    """The policy, the prices and the backends that a request goes by."""

    policy: Policy
    prices: PriceBook
    fleet: Fleet
