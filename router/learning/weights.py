"""How much one tenant may weigh."""

from collections.abc import Mapping

ROUNDS_MAX = 100


def capped(counts: Mapping[str, int], others: float, share: float) -> dict[str, float]:
    """Returns weights by tenant: their counts, none of them above `share` of the whole, `others` included.

    The whole shrinks with every cap, so it is brought down until it fits the caps it sets.
    """
    if share >= 1.0:
        return dict(counts)
    whole = others + sum(counts.values())
    for _ in range(ROUNDS_MAX):
        smaller = others + sum(min(count, share * whole) for count in counts.values())
        if whole - smaller < 1e-6 * whole:
            break
        whole = smaller
    return {tenant: min(count, share * whole) for tenant, count in counts.items()}
