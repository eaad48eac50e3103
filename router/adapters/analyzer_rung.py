"""The self-hosted analysis rung: one gRPC call to the analyzers, through whatever balances them."""

from collections.abc import Callable, Mapping, Sequence

import grpc
from google.rpc import error_details_pb2
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc

from router.adapters.wire.analyses import MalformedAnalysis, analysis
from router.adapters.wire.requests import messages_to_wire
from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.request import Message, RouteRequest
from servicekit.deadline import Deadline
from servicekit.status import received_status

TENANT_KEY = "x-tinyroute-tenant"
AFFINITY_KEY = "x-tinyroute-affinity"

CHANNEL_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 1000),  # back within a second of the other side's return, not within five
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),  # one owner of retries a hop, and that is the balancer
    ("grpc.lb_policy_name", "pick_first"),
    ("grpc.max_send_message_length", 1_048_576),
)

REASONS: Mapping[grpc.StatusCode, SkipReason] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: SkipReason.TIMEOUT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: SkipReason.OVERLOADED,
    grpc.StatusCode.UNAVAILABLE: SkipReason.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: SkipReason.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED: SkipReason.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: SkipReason.UNAVAILABLE,
    grpc.StatusCode.PERMISSION_DENIED: SkipReason.UNAVAILABLE,
}
"""Of a failed call. A code that is not here means that the analyzer could make nothing of this prompt: UNDECIDED."""

Headers = Callable[[], Mapping[str, str]]
Bucket = Callable[[Sequence[Message]], str]
"""The near-duplicate bucket of a conversation: similar ones meet at one replica."""


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel that begins to connect at once and keeps trying."""
    channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
    channel.get_state(try_to_connect=True)
    return channel


class AnalyzerRung:
    """Asks the analyzers over a channel that it does not own."""

    name = Rung.SELF_HOSTED

    def __init__(self, channel: grpc.aio.Channel, bucket: Bucket, headers: Headers = dict) -> None:
        self._channel = channel
        self._stub = analyzer_pb2_grpc.AnalyzerServiceStub(channel)
        self._bucket = bucket
        self._headers = headers

    def __repr__(self) -> str:
        return f"AnalyzerRung({self._channel.get_state().name})"

    async def analyze(self, request: RouteRequest, deadline: Deadline) -> Analysis:
        """The analysis. Raises RungFailed. A call before the first connection waits for it within the deadline."""
        question = analyzer_pb2.AnalyzePromptRequest(messages=messages_to_wire(request.messages))
        metadata = {TENANT_KEY: request.tenant, AFFINITY_KEY: self._bucket(request.messages), **self._headers()}
        try:
            response = await self._stub.AnalyzePrompt(
                question, timeout=deadline.remaining(), metadata=tuple(metadata.items())
            )
            return analysis(response.analysis)
        except grpc.aio.AioRpcError as error:
            raise rung_failed(error) from error
        except MalformedAnalysis as error:
            raise RungFailed(SkipReason.UNDECIDED) from error


def rung_failed(error: grpc.aio.AioRpcError) -> RungFailed:
    """The rung's failure that this status is."""
    reason = REASONS.get(error.code(), SkipReason.UNDECIDED)
    return RungFailed(reason, retry_after_seconds=retry_after(error))


def retry_after(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds the analyzer asked to wait; None when it did not."""
    for detail in received_status(error).details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None
