"""HTTP side of the trace receiver: OTLP in, JSON and one page out."""

import json
import zlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from deploy.local.traces import TraceStore, trace_document

PAGE = Path(__file__).with_name("traces.html")
MAX_BODY_BYTES = 16 * 2**20
DEFAULT_LIMIT = 200
PROTOBUF = "application/x-protobuf"


class RequestRefusedError(Exception):
    """A request that gets a status other than 200."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class TraceRequestHandler(BaseHTTPRequestHandler):
    """Answers one connection from the store its class is bound to."""

    store: ClassVar[TraceStore]
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Serves the page and the API."""
        address = urlsplit(self.path)
        try:
            if address.path == "/":
                self._reply(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.read_bytes())
            else:
                self._reply_json(HTTPStatus.OK, self._read(address.path, parse_qs(address.query)))
        except RequestRefusedError as refused:
            self._reply_json(refused.status, {"error": str(refused)})

    def do_POST(self) -> None:
        """Takes OTLP exports in their protobuf form."""
        try:
            self._take(self._body())
            self._reply(HTTPStatus.OK, PROTOBUF, ExportTraceServiceResponse().SerializeToString())
        except RequestRefusedError as refused:
            self.close_connection = True
            self._reply_json(refused.status, {"error": str(refused)})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name http.server gives it
        """Says nothing: a page that refreshes itself would fill the log."""

    def _read(self, path: str, query: dict[str, list[str]]) -> Any:
        if path == "/api/traces" and (request_id := query.get("request_id")):
            found = [(trace_id, self.store.get(trace_id)) for trace_id in self.store.find(request_id[0])]
            return {"traces": [trace_document(trace_id, spans) for trace_id, spans in found if spans]}
        if path == "/api/traces":
            limit = query.get("limit", [str(DEFAULT_LIMIT)])[0]
            if not limit.isdecimal():
                raise RequestRefusedError(HTTPStatus.BAD_REQUEST, "limit is a number")
            return {"traces": self.store.summaries(int(limit))}
        trace_id = path.removeprefix("/api/traces/")
        if trace_id == path or (spans := self.store.get(trace_id)) is None:
            raise RequestRefusedError(HTTPStatus.NOT_FOUND, "no such trace here; the newest are at /api/traces")
        return trace_document(trace_id, spans)

    def _take(self, body: bytes) -> None:
        if self.path == "/v1/traces":
            self.store.add(parse_export(body, self.headers.get_content_type()))
        elif self.path not in ("/v1/metrics", "/v1/logs"):
            raise RequestRefusedError(HTTPStatus.NOT_FOUND, "OTLP is taken at /v1/traces, /v1/metrics and /v1/logs")

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            raise RequestRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes")
        body = self.rfile.read(length)
        return gunzip(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply_json(self, status: HTTPStatus, document: Any) -> None:
        self._reply(status, "application/json", json.dumps(document).encode())

    def _reply(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def gunzip(body: bytes) -> bytes:
    """Returns a gzip body unpacked, refusing one that grows beyond the limit."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise RequestRefusedError(HTTPStatus.BAD_REQUEST, f"not gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise RequestRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes")
    return content


def parse_export(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """Returns an export in its binary form."""
    if content_type != PROTOBUF:
        raise RequestRefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"only {PROTOBUF} is read")
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise RequestRefusedError(HTTPStatus.BAD_REQUEST, "not an ExportTraceServiceRequest") from error
