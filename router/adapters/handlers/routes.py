"""RouterService: callers' view."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import grpc
import structlog
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from router.adapters.handlers.batches import Batch
from router.adapters.handlers.calls import checked, deadline_of, tenant_of
from router.adapters.wire import responses
from router.answer import Answer, Preview
from router.decision import Decision
from router.request import RouteRequest
from servicekit.deadline import Deadline
from servicekit.errors import Internal, ResourceExhausted, ServiceError
from servicekit.interceptors import WHOLE_MESSAGE
from servicekit.status import to_status
from servicekit.validation import MessageValidator

SERVICE = "tinyroute.router.v1.RouterService"
ITEMWISE = {f"/{SERVICE}/BatchRoute": WHOLE_MESSAGE}
"""Methods whose messages fail alone: checked here, not by the interceptor."""

Context = Any
_log = structlog.get_logger(__name__)


class Routes(Protocol):
    """The core, as the handlers see it."""

    async def route(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """Returns the whole answer."""
        ...

    def stream(self, request: RouteRequest, deadline: Deadline) -> AsyncGenerator[Decision | str | Answer, None]:
        """Yields the decision, pieces of text, the answer."""
        ...

    async def decide(self, request: RouteRequest, deadline: Deadline) -> Preview:
        """Returns the decision alone."""
        ...


class Outcomes(Protocol):
    """Keeps callers' verdicts."""

    async def report(self, tenant: str, report: router_pb2.ReportOutcomeRequest) -> bool:
        """Returns whether an earlier verdict was replaced; raises NotFound for a request that is not the tenant's."""
        ...


@dataclass(frozen=True)
class HandlerSettings:
    """Bounds of calls."""

    default_deadline_seconds: float = 60.0
    batch_concurrency: int = 16


@dataclass(frozen=True)
class Tracing:
    """What the handlers need to know of tracing: the trace in progress, and a span around one item of a batch."""

    trace_id: Callable[[], str]
    item: Callable[[str], AbstractContextManager[None]]


class RouterHandlers(router_pb2_grpc.RouterServiceServicer):
    """From messages to the core and back."""

    def __init__(
        self,
        routes: Routes,
        outcomes: Outcomes,
        tracing: Tracing,
        validator: MessageValidator,
        settings: HandlerSettings,
    ) -> None:
        self._routes = routes
        self._outcomes = outcomes
        self._tracing = tracing
        self._settings = settings
        self._validator = validator

    async def Route(self, request: router_pb2.RouteRequest, context: Context) -> router_pb2.RouteResponse:  # noqa: N802
        """Has a prompt answered."""
        answer = await self._routes.route(checked(request, tenant_of(context)), self._deadline(context))
        return self._response(answer)

    async def StreamRoute(  # noqa: N802
        self, request: router_pb2.StreamRouteRequest, context: Context
    ) -> AsyncIterator[router_pb2.StreamRouteResponse]:
        """Has a prompt answered in pieces: the decision first, usage and cost last."""
        core = checked(request, tenant_of(context))
        decided: Decision | None = None
        async with aclosing(self._routes.stream(core, self._deadline(context))) as events:
            async for event in events:
                if isinstance(event, str):
                    yield router_pb2.StreamRouteResponse(delta=event)
                elif isinstance(event, Decision):
                    decided = event
                    yield router_pb2.StreamRouteResponse(
                        request_id=core.request_id,
                        decision=responses.decision(event),
                        trace_id=self._tracing.trace_id(),
                    )
                else:
                    yield responses.last_piece(event, decided)

    async def Decide(self, request: router_pb2.DecideRequest, context: Context) -> router_pb2.DecideResponse:  # noqa: N802
        """Makes the decision alone."""
        preview = await self._routes.decide(checked(request, tenant_of(context)), self._deadline(context))
        response = responses.decide_response(preview)
        response.trace_id = self._tracing.trace_id()
        return response

    async def BatchRoute(  # noqa: N802
        self, requests: AsyncIterator[router_pb2.BatchRouteRequest], context: Context
    ) -> AsyncIterator[router_pb2.BatchRouteResponse]:
        """Has many prompts answered. Without a caller's deadline each item has the default one."""

        async def work(item: router_pb2.BatchRouteRequest) -> router_pb2.BatchRouteResponse:
            return await self._answer_item(item, context)

        batch = Batch(work, self._settings.batch_concurrency)
        async with aclosing(batch.results(requests)) as results:
            async for result in results:
                yield result

    async def ReportOutcome(  # noqa: N802
        self, request: router_pb2.ReportOutcomeRequest, context: Context
    ) -> router_pb2.ReportOutcomeResponse:
        """Keeps a verdict."""
        replaced = await self._outcomes.report(tenant_of(context), request)
        return router_pb2.ReportOutcomeResponse(replaced=replaced)

    async def _answer_item(self, item: router_pb2.BatchRouteRequest, context: Context) -> router_pb2.BatchRouteResponse:
        """One item's fate; nothing it does ends the batch."""
        request_id = item.request.request_id
        try:
            self._validator.check(item)
            core = replace(checked(item.request, tenant_of(context)), bulk=True)
            request_id = core.request_id
            with self._tracing.item("Route"):
                answer = await self._patiently(core, self._deadline(context))
                return router_pb2.BatchRouteResponse(request_id=request_id, response=self._response(answer))
        except ServiceError as error:
            return router_pb2.BatchRouteResponse(request_id=request_id, error=to_status(error))
        except Exception as error:  # noqa: BLE001 - a bug on one item is that item's, and is logged
            _log.error("an item of a batch failed", exc_info=error)
            failure = Internal("INTERNAL_ERROR", "The service failed on this request; its log tells more.")
            return router_pb2.BatchRouteResponse(request_id=request_id, error=to_status(failure))

    async def _patiently(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """Has an item answered; where there is no room for it, asks again when it is told to, until its deadline."""
        while True:
            try:
                return await self._routes.route(request, deadline)
            except ResourceExhausted as error:
                wait = error.retry_after_seconds
                if wait is None or wait >= deadline.remaining():
                    raise
            await asyncio.sleep(wait)

    def _response(self, answer: Answer) -> router_pb2.RouteResponse:
        response = responses.route_response(answer)
        response.trace_id = self._tracing.trace_id()
        return response

    def _deadline(self, context: Context) -> Deadline:
        return deadline_of(context, self._settings.default_deadline_seconds)


def add_router_service(handlers: RouterHandlers, server: grpc.aio.Server) -> None:
    """Registers the service."""
    router_pb2_grpc.add_RouterServiceServicer_to_server(handlers, server)
