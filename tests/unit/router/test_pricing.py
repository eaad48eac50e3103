"""Prices are exact, rounded once, and unknown when they are."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.answer import Usage
from router.pricing import Price, PriceBook, total_micros

JANUARY, JUNE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
PRICE = Price(input=3_000_000, output=15_000_000, effective_from=JANUARY, cached=300_000, reasoning=20_000_000)


@pytest.mark.parametrize(
    ("usage", "micros"),
    [
        (Usage(0, 0), 0),
        (Usage(1000, 0), 3000),
        (Usage(1000, 0, cached=1000), 300),
        (Usage(1000, 100, cached=400, reasoning=40), 600 * 3 + 120 + 60 * 15 + 40 * 20),
        (Usage(10, 0, cached=99), 3),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, micros: int) -> None:
    """Cached tokens are a part of the input, reasoning ones of the output."""
    assert PRICE.of(usage) == micros


def test_untold_kinds_cost_what_the_whole_costs() -> None:
    """Cached as input, reasoning as output."""
    price = Price(1_000_000, 2_000_000, JANUARY)
    assert price.of(Usage(10, 10, cached=5, reasoning=5)) == 30


@pytest.mark.parametrize(("tokens", "micros"), [(1, 0), (4, 0), (5, 1), (14, 1), (15, 2)])
def test_half_a_micro_dollar_is_rounded_up(tokens: int, micros: int) -> None:
    """Once, at the end."""
    assert Price(100_000, 0, JANUARY).of(Usage(tokens, 0)) == micros


def test_the_price_of_the_day_counts() -> None:
    """In whatever order the book has them."""
    book = PriceBook("r", {"m": (Price(2_000_000, 0, JUNE), Price(1_000_000, 0, JANUARY))})
    assert book.price(Usage(10, 0), "m", datetime(2026, 5, 31, 23, 59, tzinfo=UTC)) == 10
    assert book.price(Usage(10, 0), "m", JUNE) == 20


def test_an_unknown_price_is_none() -> None:
    """Of a model nobody knows, or before its first price; and None in a sum makes it None."""
    book = PriceBook("r", {"m": (PRICE,)})
    assert book.price(Usage(1, 1), "other", JUNE) is None
    assert book.price(Usage(1, 1), "m", datetime(2025, 1, 1, tzinfo=UTC)) is None
    assert total_micros(1, None, 2) is None
    assert total_micros(1, 2) == 3
    assert total_micros() == 0


tokens = st.integers(0, 2**31)


@settings(deadline=None)
@given(tokens, tokens, tokens, tokens)
def test_more_tokens_never_cost_less(less_in: int, more_in: int, less_out: int, more_out: int) -> None:
    """And nothing is negative."""
    less, more = sorted((less_in, more_in)), sorted((less_out, more_out))
    assert 0 <= PRICE.of(Usage(less[0], more[0])) <= PRICE.of(Usage(less[1], more[1]))
