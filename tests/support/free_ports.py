"""Ports that nothing listens on, below the range from which the kernel hands out its own."""

import random
import socket

LOWEST, HIGHEST = 20_000, 32_000


def free_port_base(count: int) -> int:
    """Returns the first of `count` ports in a row that can all be opened on loopback."""
    for _ in range(200):
        base = random.randrange(LOWEST, HIGHEST - count)
        if all(is_free(base + offset) for offset in range(count)):
            return base
    raise RuntimeError(f"no {count} free ports in a row")


def is_free(port: int) -> bool:
    """Whether a port can be opened."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
