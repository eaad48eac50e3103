"""What a failure is to a shell: one sentence on stderr and an exit code that is documented in `router --help`."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import click
import grpc

from servicekit.status import received_reason

OK, FAILED, USAGE, UNREACHABLE, REFUSED, TIMED_OUT, NOT_THERE = 0, 1, 2, 3, 4, 5, 6

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the program or the router failed within
  2  wrong usage, or the router called the request invalid
  3  the router, or everything behind it, can't be reached
  4  refused: no room, no money, no permission, or constraints that leave no tier
  5  the time ran out
  6  no such thing, or not in this version
"""

BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: USAGE,
    grpc.StatusCode.UNAVAILABLE: UNREACHABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: REFUSED,
    grpc.StatusCode.UNAUTHENTICATED: REFUSED,
    grpc.StatusCode.ALREADY_EXISTS: REFUSED,
    grpc.StatusCode.DEADLINE_EXCEEDED: TIMED_OUT,
    grpc.StatusCode.NOT_FOUND: NOT_THERE,
    grpc.StatusCode.UNIMPLEMENTED: NOT_THERE,
}

T = TypeVar("T")


def run(work: Callable[[], Coroutine[Any, Any, T]], target: str) -> T:
    """Runs a call to the router; a status that is not OK ends the program with its sentence and exit code."""
    try:
        return asyncio.run(work())
    except grpc.aio.AioRpcError as error:
        fail(sentence(error, target), BY_CODE.get(error.code(), FAILED))
    except KeyboardInterrupt:
        sys.exit(130)


def fail(message: str, code: int) -> NoReturn:
    """Ends the program."""
    click.echo(f"router: {message}", err=True)
    sys.exit(code)


def sentence(error: grpc.aio.AioRpcError, target: str) -> str:
    """What happened, and for a router that is not there what to do."""
    reason = received_reason(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE and reason is None:
        return f"no router answers at {target}; start one with `router serve`, or name another with --target"
    told = error.details() or "no further text"
    return f"{error.code().name.lower()}: {told}" + (f" ({reason})" if reason else "")
