"""Sums over what was spent, as a ledger's store tells them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UsageSum:
    """Sums over one group; money in micro-dollars."""

    group: tuple[str, ...]
    requests: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    analysis_cost_micros: int
    saved_micros: int
    cost_unknown: int
