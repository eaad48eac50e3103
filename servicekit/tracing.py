"""Spans of gRPC calls, both sides, with W3C trace context in the metadata.

The server's interceptor is the outermost one: a call refused by any interceptor inside it is traced with its real
status. Health checks and reflection make no spans.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servicekit.interceptors import Continuation, Handler, wrap_handler

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
ERROR_TYPE = "error.type"

# The SDK's own bounds are meant for milliseconds: in seconds, everything would be in the first bucket.
DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_UNTRACED = ("/grpc.health.", "/grpc.reflection.")

# The other codes are the caller's doing: on the server's side they are no error of the server.
_SERVER_ERRORS = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))

_propagator = TraceContextTextMapPropagator()


def context_from(metadata: Iterable[tuple[str, str | bytes]] | None) -> Context:
    """Returns the caller's trace context; an empty one when there is none or it is malformed."""
    carrier = {key: value for key, value in metadata or () if isinstance(value, str)}
    return _propagator.extract(carrier)


def metadata_with_context(metadata: Iterable[tuple[str, str | bytes]] | None = None) -> grpc.aio.Metadata:
    """Returns the metadata with the current trace context added."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    kept = [(key, value) for key, value in metadata or () if key not in carrier]
    return grpc.aio.Metadata(*kept, *carrier.items())


class TracingServerInterceptor(grpc.aio.ServerInterceptor):
    """Makes one SERVER span a call, named like the method, and measures its duration."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._duration = meter.create_histogram(
            "rpc.server.call.duration",
            unit="s",
            description="Duration of calls, by method and status.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS,
        )

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Returns the method's handler inside a span."""
        handler: Handler | None = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_UNTRACED):
            return handler
        parent = context_from(handler_call_details.invocation_metadata)
        return wrap_handler(handler, _TracedCall(self, method, parent), handler.request_deserializer)

    def start(self, method: str, parent: Context) -> Span:
        """Returns the span of a call that begins."""
        return self._tracer.start_span(
            method.rpartition("/")[2], context=parent, kind=SpanKind.SERVER, attributes=_attributes(method)
        )

    def end(self, span: Span, method: str, code: str, seconds: float) -> None:
        """Ends a call's span with its status."""
        _set_status(span, code, is_error=code in _SERVER_ERRORS)
        span.end()
        self._duration.record(seconds, {**_attributes(method), RPC_STATUS: code})


class _TracedCall:
    """Runs one method's behaviour inside a span."""

    def __init__(self, interceptor: TracingServerInterceptor, method: str, parent: Context) -> None:
        self._interceptor = interceptor
        self._method = method
        self._parent = parent

    async def answer(self, behaviour: Callable[..., Awaitable[Any]], request: Any, context: Any) -> Any:
        """Runs a handler that returns its answer."""
        with self._span(context) as span:
            token = otel_context.attach(span)
            try:
                return await behaviour(request, context)
            finally:
                otel_context.detach(token)

    async def answers(
        self, behaviour: Callable[..., AsyncIterator[Any]], request: Any, context: Any
    ) -> AsyncIterator[Any]:
        """Runs a handler that yields; the span is current only while the handler runs, not while the caller reads."""
        with self._span(context) as span:
            responses = behaviour(request, context)
            while True:
                token = otel_context.attach(span)
                try:
                    response = await anext(responses, _END)
                finally:
                    otel_context.detach(token)
                if response is _END:
                    return
                yield response

    @contextmanager
    def _span(self, context: Any) -> Any:
        span = self._interceptor.start(self._method, self._parent)
        started, code = time.monotonic(), "OK"
        try:
            yield set_span_in_context(span, self._parent)
            code = _sent_code(context, "OK")
        except (asyncio.CancelledError, GeneratorExit):
            code = "CANCELLED"
            raise
        except BaseException:
            code = _sent_code(context, "UNKNOWN")
            raise
        finally:
            self._interceptor.end(span, self._method, code, time.monotonic() - started)


class TracingClientInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Makes one CLIENT span a call and sends the trace context along."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], client_call_details: Any, request: Any
    ) -> Any:
        """Returns the finished call."""
        method = _text(client_call_details.method)
        with self._tracer.start_as_current_span(
            method.rpartition("/")[2], kind=SpanKind.CLIENT, attributes=_attributes(method), record_exception=False
        ) as span:
            details = client_call_details._replace(metadata=metadata_with_context(client_call_details.metadata))
            call = await continuation(details, request)
            try:
                code = (await call.code()).name
            except asyncio.CancelledError:
                call.cancel()
                _set_status(span, "CANCELLED", is_error=True)
                raise
            _set_status(span, code, is_error=code != "OK")
            return call


class TracingStreamClientInterceptor(grpc.aio.UnaryStreamClientInterceptor):
    """The same for calls answered by a stream: the span ends with the stream."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_stream(
        self, continuation: Callable[..., Awaitable[Any]], client_call_details: Any, request: Any
    ) -> Any:
        """Returns the call at once."""
        method = _text(client_call_details.method)
        span = self._tracer.start_span(method.rpartition("/")[2], kind=SpanKind.CLIENT, attributes=_attributes(method))
        token = otel_context.attach(set_span_in_context(span))
        try:
            details = client_call_details._replace(metadata=metadata_with_context(client_call_details.metadata))
            call = await continuation(details, request)
        finally:
            otel_context.detach(token)
        ending = asyncio.create_task(_end_with(span, call))
        call.add_done_callback(lambda _: ending)  # the call keeps its task alive
        return call


_END = object()


async def _end_with(span: Span, call: Any) -> None:
    code = (await call.code()).name
    _set_status(span, code, is_error=code != "OK")
    span.end()


def _attributes(method: str) -> dict[str, str]:
    return {RPC_SYSTEM: "grpc", RPC_METHOD: method.removeprefix("/")}


def _set_status(span: Span, code: str, *, is_error: bool) -> None:
    span.set_attribute(RPC_STATUS, code)
    if is_error:
        span.set_attribute(ERROR_TYPE, code)
        span.set_status(Status(StatusCode.ERROR, code))


def _sent_code(context: Any, otherwise: str) -> str:
    """Returns the name of the status that a call was ended with (gRPC tells it as a number)."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    names = {each.value[0]: each.name for each in grpc.StatusCode}
    return names.get(code, otherwise) if code else otherwise


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
