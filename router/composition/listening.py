"""The router's two gRPC servers: callers' on the public port, operators' beside it on the admin port."""

import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import grpc
from grpc_reflection.v1alpha import reflection
from tinyroute.router.v1 import admin_pb2, admin_pb2_grpc, router_pb2

from router.adapters.handlers.operators import NoUsage, PolicyHandlers, UsageHandlers
from router.adapters.handlers.outcomes import NoOutcomes, StoredOutcomes
from router.adapters.handlers.policies import StoredPolicyHandlers
from router.adapters.handlers.routes import (
    ITEMWISE,
    SERVICE,
    HandlerSettings,
    RouterHandlers,
    Routes,
    Tracing,
    add_router_service,
)
from router.adapters.telemetry import CountedOutcomes
from router.composition.keeping import Keeping
from router.learning.steering import Steering
from router.policy import Policy
from router.settings import RouterSettings
from servicekit.errors import InvalidArgument
from servicekit.health import HealthServicer
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import ServerLimits, bind, create_server
from servicekit.telemetry import Telemetry
from servicekit.tracing import TracingServerInterceptor
from servicekit.validation import MessageValidator

POLICY_SERVICE = "tinyroute.router.v1.PolicyService"
USAGE_SERVICE = "tinyroute.router.v1.UsageService"
REQUESTS = (
    router_pb2.RouteRequest,
    router_pb2.StreamRouteRequest,
    router_pb2.DecideRequest,
    router_pb2.BatchRouteRequest,
    router_pb2.ReportOutcomeRequest,
    admin_pb2.QueryUsageRequest,
)
PUBLIC_SERVICES = (SERVICE,)
ADMIN_SERVICES = (SERVICE, POLICY_SERVICE, USAGE_SERVICE)


@dataclass(frozen=True)
class Served:
    """What the servers give access to."""

    routes: Routes
    policy: Callable[[], Policy]
    tracing: Tracing
    keeping: Keeping | None
    steering: Steering | None


def make_servers(
    settings: RouterSettings, served: Served, telemetry: Telemetry, health: HealthServicer
) -> tuple[grpc.aio.Server, grpc.aio.Server]:
    """The public and the admin server, not yet listening. RouterService is on both: an operator needs one port."""
    validator = warm_validator()
    public, admin = (_server(telemetry, validator) for _ in range(2))
    outcomes = StoredOutcomes(served.keeping.store, served.keeping.mover.flush) if served.keeping else NoOutcomes()
    handlers = RouterHandlers(
        served.routes,
        CountedOutcomes(outcomes, telemetry.meter("tinyroute.router")),
        served.tracing,
        validator,
        HandlerSettings(settings.limits.default_deadline_seconds, settings.limits.batch_concurrency),
    )
    for server in (public, admin):
        add_router_service(handlers, server)
        health.add_to(server)
    configured = PolicyHandlers(served.policy, dt.datetime.now(dt.UTC))
    policies = StoredPolicyHandlers(served.steering) if served.steering else configured
    admin_pb2_grpc.add_PolicyServiceServicer_to_server(policies, admin)
    usage = UsageHandlers(served.keeping.store, served.keeping.mover.flush) if served.keeping else NoUsage()
    admin_pb2_grpc.add_UsageServiceServicer_to_server(usage, admin)
    if settings.listen.reflection == "public":
        _reflect(public, PUBLIC_SERVICES)
    _reflect(admin, ADMIN_SERVICES)
    return public, admin


def warm_validator() -> MessageValidator:
    """A validator that has compiled the rules of every request: else the first callers would wait for it."""
    validator = MessageValidator()
    for request in REQUESTS:
        with suppress(InvalidArgument):
            validator.check(request())
    return validator


def listen(settings: RouterSettings, public: grpc.aio.Server, admin: grpc.aio.Server) -> tuple[int, int]:
    """Opens both ports and returns their numbers. Raises BindError."""
    where = settings.listen
    return bind(public, where.host, where.port), bind(admin, where.host, where.admin_port)


def _server(telemetry: Telemetry, validator: MessageValidator) -> grpc.aio.Server:
    tracing = TracingServerInterceptor(telemetry.tracer("tinyroute.grpc"), telemetry.meter("tinyroute.grpc"))
    return create_server([tracing, RequestInterceptor(validator, itemwise=ITEMWISE)], ServerLimits())


def _reflect(server: grpc.aio.Server, services: tuple[str, ...]) -> None:
    reflection.enable_server_reflection((*services, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
