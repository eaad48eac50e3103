"""One channel to a router, and how long a call may take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import grpc
from tinyroute.router.v1 import admin_pb2_grpc, router_pb2_grpc

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_TARGET = "127.0.0.1:50050"
DEFAULT_ADMIN_TARGET = "127.0.0.1:50150"


@dataclass(frozen=True)
class Connection:
    """Where the router is and how long to wait for it."""

    target: str
    timeout: float

    def channel(self) -> grpc.aio.Channel:
        """A channel to it; used as a context manager it is closed at the end."""
        return grpc.aio.insecure_channel(self.target, options=(("grpc.enable_retries", 0),))


def router_stub(channel: grpc.aio.Channel) -> "router_pb2_grpc.RouterServiceAsyncStub":
    """Callers' view."""
    return router_pb2_grpc.RouterServiceStub(channel)


def policy_stub(channel: grpc.aio.Channel) -> "admin_pb2_grpc.PolicyServiceAsyncStub":
    """Operators' view of policies."""
    return admin_pb2_grpc.PolicyServiceStub(channel)


def usage_stub(channel: grpc.aio.Channel) -> "admin_pb2_grpc.UsageServiceAsyncStub":
    """Operators' view of costs."""
    return admin_pb2_grpc.UsageServiceStub(channel)


def connection_options(default_target: str = DEFAULT_TARGET) -> Callable[[Command], Command]:
    """Adds --target and --timeout to a command, which takes them as `target` and `timeout`."""

    def add(command: Command) -> Command:
        target = click.option(
            "--target", default=default_target, show_default=True, envvar="TINYROUTE_TARGET", help="Router to call."
        )
        timeout = click.option(
            "--timeout", default=60.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Seconds."
        )
        return target(timeout(command))

    return add
