"""Envoy in front of the router: gRPC and JSON, with a scripted router behind it."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from tests.support.envoy import RunningEnvoy

pytestmark = pytest.mark.e2e

PROMPT = {"messages": [{"role": "ROLE_USER", "content": "Hi"}]}


class FakeRouter(router_pb2_grpc.RouterServiceServicer):
    """Answers every call, and notes what came."""

    def __init__(self) -> None:
        self.headers: dict[str, Any] = {}
        self.requests: list[Any] = []

    async def Decide(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the proto
        """Decides for the small tier."""
        self._note(request, context)
        return router_pb2.DecideResponse(request_id="r-1", decision=router_pb2.Decision(tier=router_pb2.TIER_SMALL))

    async def Route(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refuses, with details."""
        self._note(request, context)
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="tinyroute"))
        status = status_pb2.Status(code=8, message="full", details=[detail])
        details = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", details)

    async def StreamRoute(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Answers in two pieces, a while apart."""
        self._note(request, context)
        yield router_pb2.StreamRouteResponse(request_id="r-1")
        await asyncio.sleep(0.2)
        yield router_pb2.StreamRouteResponse(delta="Hi", finish_reason=router_pb2.FINISH_REASON_STOP)

    def _note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.headers = dict(context.invocation_metadata())


class Front:
    """A scripted router behind an Envoy, and its callers."""

    def __init__(self, router: FakeRouter, envoy: RunningEnvoy) -> None:
        self.router = router
        self.envoy = envoy

    async def post(self, path: str, body: Any, *headers: str) -> tuple[int, str]:
        """Makes one HTTP call with curl and returns status and body."""
        options = [part for header in headers for part in ("-H", header)]
        address = f"http://{self.envoy.front_target}{path}"
        data = body if isinstance(body, str) else json.dumps(body)
        command = ["curl", "-sN", "-w", "\n%{http_code}", "-H", "content-type: application/json", *options]
        process = await asyncio.create_subprocess_exec(
            *command, "--data-binary", "@-", address, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(data.encode())
        content, _, status = output.decode().rpartition("\n")
        return int(status), content


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A scripted router behind an Envoy."""
    async with AsyncExitStack() as running:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1_048_576)])
        router = FakeRouter()
        router_pb2_grpc.add_RouterServiceServicer_to_server(router, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        running.push_async_callback(server.stop, 0)
        envoy = await running.enter_async_context(RunningEnvoy(tmp_path, router=port))
        yield Front(router, envoy)


async def test_json_speaks_in_the_names_of_the_proto(front: Front) -> None:
    """Zeros are written out too."""
    status, body = await front.post("/v1/decide", PROMPT)
    answer = json.loads(body)
    assert (status, answer["request_id"], answer["decision"]["tier"]) == (200, "r-1", "TIER_SMALL")
    assert answer["decision"]["complexity"] == 0


async def test_an_error_keeps_its_code_its_sentence_and_its_details(front: Front) -> None:
    """RESOURCE_EXHAUSTED is HTTP 429, with google.rpc.Status as the body."""
    status, body = await front.post("/v1/route", PROMPT)
    answer = json.loads(body)
    assert (status, answer["code"], answer["message"]) == (429, 8, "full")
    assert answer["details"][0]["reason"] == "QUEUE_FULL"


async def test_a_stream_is_one_object_a_line(front: Front) -> None:
    """Newline-delimited, in the order they came."""
    status, body = await front.post("/v1/route:stream", PROMPT)
    first, last = [json.loads(line) for line in body.strip().splitlines()]
    assert (status, first["request_id"], last["delta"]) == (200, "r-1", "Hi")
    assert last["finish_reason"] == "FINISH_REASON_STOP"


async def test_headers_that_speak_for_the_router_or_to_the_proxy_are_removed(front: Front) -> None:
    """A caller names neither its tenant nor Envoy's retries; its trace goes on."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = ("x-tinyroute-tenant: other", "X-Envoy-Max-Retries: 9", f"traceparent: {traceparent}", "x-mine: kept")
    await front.post("/v1/decide", PROMPT, *sent)
    assert "x-tinyroute-tenant" not in front.router.headers
    assert "x-envoy-max-retries" not in front.router.headers
    assert front.router.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    assert front.router.headers["x-mine"] == "kept"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/decide", "{not json", 400),
        ("/v1/decide?x=1", PROMPT, 400),
        ("/v1/nonsense", PROMPT, 404),
        ("/tinyroute.router.v1.PolicyService/GetPolicy", {}, 404),
    ],
    ids=["not JSON", "query parameter", "unknown path", "operators' service"],
)
async def test_what_the_router_should_not_see_ends_here(front: Front, path: str, body: Any, expected: int) -> None:
    """Bad requests are answered by the proxy."""
    status, _ = await front.post(path, body)
    assert status == expected
    assert not front.router.requests


async def test_a_body_beyond_the_routers_limit_is_refused(front: Front) -> None:
    """By the router's receive limit, so in JSON as in gRPC: RESOURCE_EXHAUSTED, which is HTTP 429."""
    status, _ = await front.post("/v1/decide", {"messages": [{"role": "ROLE_USER", "content": "x" * 1_100_000}]})
    assert status == 429
    assert not front.router.requests


async def test_grpc_passes_through(front: Front) -> None:
    """The same port speaks gRPC; unknown methods and operators' services are UNIMPLEMENTED."""
    async with grpc.aio.insecure_channel(front.envoy.front_target) as channel:
        answer = await router_pb2_grpc.RouterServiceStub(channel).Decide(router_pb2.DecideRequest(), timeout=2)
        assert answer.request_id == "r-1"
        for method in ("tinyroute.router.v1.RouterService/Nonsense", "tinyroute.router.v1.PolicyService/GetPolicy"):
            call = channel.unary_unary(f"/{method}", request_serializer=bytes, response_deserializer=bytes)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", timeout=2)
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
