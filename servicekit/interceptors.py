"""The innermost server interceptor: parses, validates, and turns raised errors into status.

gRPC's Python server answers a message it can't parse with UNKNOWN, which proxies count against the host: here bytes
reach the handler's wrapper and are parsed there, so that a broken caller gets INVALID_ARGUMENT and a healthy host stays
in the pool. Handlers raise `ServiceError`s and never call `abort`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from servicekit.errors import Internal, InvalidArgument, ServiceError
from servicekit.status import status_code, to_status, trailing_metadata
from servicekit.validation import MessageValidator

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
Context = grpc.aio.ServicerContext[Any, Any]
Parse = Callable[[bytes], Any]

_log = structlog.get_logger(__name__)

WHOLE_MESSAGE = ""


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Works on every method of a server.

    `itemwise` names methods whose items fail alone, by full name ("/package.Service/Method"): rules broken inside the
    given repeated field (or, with WHOLE_MESSAGE, anywhere in a message of a request stream) are the handler's to check.
    """

    def __init__(self, validator: MessageValidator, itemwise: Mapping[str, str] | None = None) -> None:
        self._validator = validator
        self._itemwise = dict(itemwise or {})

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Returns the method's handler, wrapped; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        return wrap_handler(handler, _Wrapper(method, self._parser(method, handler)), None)

    def _parser(self, method: str, handler: Handler) -> Parse:
        deserialize = handler.request_deserializer
        itemwise = self._itemwise.get(method)

        def parse(data: bytes) -> Any:
            message = _decoded(data, deserialize)
            if isinstance(message, Message) and itemwise != WHOLE_MESSAGE:
                inside = f"{itemwise}["
                ignoring = (lambda path: path.startswith(inside)) if itemwise else None
                self._validator.check(message, ignoring=ignoring)
            return message

        return parse


def _decoded(data: bytes, deserialize: Callable[[bytes], Any] | None) -> Any:
    if deserialize is None:
        return data
    try:
        return deserialize(data)
    except DecodeError as error:
        raise InvalidArgument("UNPARSABLE_MESSAGE", "The request is not a message of the expected type.") from error


class _Wrapper:
    """Runs one method's behaviour between parsing and the mapping of errors."""

    def __init__(self, method: str, parse: Parse) -> None:
        self._method = method
        self._parse = parse

    async def answer(self, behaviour: Callable[..., Awaitable[Any]], request: Any, context: Context) -> Any:
        """Runs a handler that returns its answer (or writes it to the context itself)."""
        try:
            return await behaviour(self._parsed(request), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here, and bugs are logged
            await self._fail(error, context)

    async def answers(
        self, behaviour: Callable[..., AsyncIterator[Any]], request: Any, context: Context
    ) -> AsyncIterator[Any]:
        """Runs a handler that yields its answers."""
        try:
            async for response in behaviour(self._parsed(request), context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            await self._fail(error, context)

    def _parsed(self, request: Any) -> Any:
        return self._parse(request) if isinstance(request, bytes) else self._each_parsed(request)

    async def _each_parsed(self, requests: AsyncIterable[bytes]) -> AsyncIterator[Any]:
        async for data in requests:
            yield self._parse(data)

    async def _fail(self, error: Exception, context: Context) -> None:
        expected = error if isinstance(error, ServiceError) else self._unexpected(error)
        status = to_status(expected)
        await context.abort(status_code(expected), status.message, trailing_metadata(status))

    def _unexpected(self, error: Exception) -> ServiceError:
        _log.error("handler failed", rpc_method=self._method, exc_info=error)
        return Internal("INTERNAL_ERROR", "The service failed on this request; its log tells more.")


def wrap_handler(handler: Handler, wrapper: Any, deserialize: Callable[[bytes], Any] | None) -> Handler:
    """Returns a handler of the same kind that runs through `wrapper.answer` or, when it yields, `wrapper.answers`.

    With no `deserialize` the wrapper is given bytes.
    """
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if inspect.isasyncgenfunction(behaviour):

        async def yielding(request: Any, context: Context) -> AsyncIterator[Any]:
            async for response in wrapper.answers(behaviour, request, context):
                yield response

        return _same_kind(handler)(yielding, deserialize, handler.response_serializer)

    async def returning(request: Any, context: Context) -> Any:
        return await wrapper.answer(behaviour, request, context)

    return _same_kind(handler)(returning, deserialize, handler.response_serializer)


def _same_kind(handler: Handler) -> Callable[..., Handler]:
    kinds: dict[tuple[bool, bool], Callable[..., Handler]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return kinds[handler.request_streaming, handler.response_streaming]
