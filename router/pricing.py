"""Tokens to money: integer micro-dollars, exact until one rounding at the end. An unknown price is None, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from router.answer import Usage

TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a model's tokens cost from a moment on, in micro-dollars per million of them.

    A cached token costs what an input token costs, a reasoning token what an output token costs, unless told.
    """

    input: int
    output: int
    effective_from: datetime
    cached: int | None = None
    reasoning: int | None = None

    def of(self, usage: Usage) -> int:
        """Returns micro-dollars, half a micro-dollar rounded up."""
        cached = min(usage.cached, usage.input)
        reasoning = min(usage.reasoning, usage.output)
        exact = (
            (usage.input - cached) * self.input
            + cached * (self.input if self.cached is None else self.cached)
            + (usage.output - reasoning) * self.output
            + reasoning * (self.output if self.reasoning is None else self.reasoning)
        )
        return (exact + TOKENS_PER_PRICE // 2) // TOKENS_PER_PRICE


@dataclass(frozen=True)
class PriceBook:
    """The prices of each model over time, in any order, under one revision."""

    revision: str
    prices: Mapping[str, tuple[Price, ...]] = field(default_factory=dict)

    def price(self, usage: Usage, model: str, at: datetime) -> int | None:
        """Returns what the tokens cost at that model at that moment; None when its price then is not known."""
        effective = [price for price in self.prices.get(model, ()) if price.effective_from <= at]
        if not effective:
            return None
        return max(effective, key=lambda price: price.effective_from).of(usage)


def total_micros(*amounts: int | None) -> int | None:
    """Returns the sum; None when any part is not known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
