"""The trace receiver over the wire: OTLP in by gRPC and HTTP, JSON and a page out."""

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from deploy.local.telemetry_sink import grpc_receiver, http_receiver
from deploy.local.trace_http import MAX_BODY_BYTES
from deploy.local.traces import TraceStore
from tests.support.free_ports import free_port_base

TRACE_ID = "ab" * 16
PROTOBUF = "application/x-protobuf"


def export() -> trace_service_pb2.ExportTraceServiceRequest:
    """One span."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes.fromhex(TRACE_ID), b"12345678", "Route"
    return request


class Receiver:
    """A running receiver."""

    def __init__(self, grpc_port: int, http_port: int) -> None:
        self.grpc_target = f"127.0.0.1:{grpc_port}"
        self._base = f"http://127.0.0.1:{http_port}"

    def get(self, path: str) -> tuple[int, Any]:
        """Returns status and body; JSON where it is."""
        return self._ask(urllib.request.Request(self._base + path))

    def post(self, path: str, body: bytes, **headers: str) -> int:
        """Returns the status of an export."""
        named = {"content-type": PROTOBUF} | {key.replace("_", "-"): value for key, value in headers.items()}
        return self._ask(urllib.request.Request(self._base + path, data=body, headers=named))[0]

    @staticmethod
    def _ask(request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                body = answer.read()
                is_json = answer.headers.get_content_type() == "application/json"
                return answer.status, json.loads(body) if is_json else body
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on free ports."""
    store, base = TraceStore(), free_port_base(2)
    over_grpc, over_http = grpc_receiver(store, base), http_receiver(store, base + 1)
    yield Receiver(base, base + 1)
    over_http.shutdown()
    over_http.server_close()
    over_grpc.stop(grace=None).wait()


def test_spans_come_over_grpc(receiver: Receiver) -> None:
    """Metrics and logs are welcome, and dropped."""
    with grpc.insecure_channel(receiver.grpc_target) as channel:
        trace_service_pb2_grpc.TraceServiceStub(channel).Export(export(), timeout=5)
        metrics = metrics_service_pb2.ExportMetricsServiceRequest()
        metrics_service_pb2_grpc.MetricsServiceStub(channel).Export(metrics, timeout=5)
        logs_service_pb2_grpc.LogsServiceStub(channel).Export(logs_service_pb2.ExportLogsServiceRequest(), timeout=5)
    status, trace = receiver.get(f"/api/traces/{TRACE_ID}")
    assert (status, [span["name"] for span in trace["spans"]]) == (200, ["Route"])


def test_spans_come_over_http(receiver: Receiver) -> None:
    """Plain or packed."""
    body = export().SerializeToString()
    assert receiver.post("/v1/traces", body) == 200
    assert receiver.post("/v1/traces", gzip.compress(body), content_encoding="gzip") == 200
    assert receiver.post("/v1/metrics", b"") == 200
    assert receiver.get("/api/traces")[1]["traces"][0]["span_count"] == 2


def test_what_is_no_export_is_refused(receiver: Receiver) -> None:
    """With a status that says why; a body that unpacks beyond the limit too."""
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    assert receiver.post("/v1/traces", b"\xff\xff") == 400
    assert receiver.post("/v1/traces", b"{}", content_type="application/json") == 415
    assert receiver.post("/v1/traces", b"no gzip", content_encoding="gzip") == 400
    assert receiver.post("/v1/traces", bomb, content_encoding="gzip") == 413
    assert receiver.post("/v1/else", b"") == 404


def test_the_page_and_the_api(receiver: Receiver) -> None:
    """A page for people; for programs clear refusals."""
    status, page = receiver.get("/")
    assert (status, b"<title>tinyroute traces</title>" in page) == (200, True)
    assert receiver.get("/api/traces")[1] == {"traces": []}
    assert receiver.get("/api/traces?request_id=nobody")[1] == {"traces": []}
    assert receiver.get("/api/traces?limit=many")[0] == 400
    assert receiver.get(f"/api/traces/{TRACE_ID}")[0] == 404
    assert receiver.get("/else")[0] == 404
