"""The last traces of the local stack, in bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SpanDict: TypeAlias = dict[str, Any]
REQUEST_ID = "tinyroute.request_id"
ENVOY_TRY = "envoy to "


@dataclass(frozen=True)
class TraceLimits:
    """How much is kept. What exceeds it goes, the oldest trace first."""

    traces: int = 1_000
    spans: int = 50_000
    spans_in_one_trace: int = 5_000


class TraceStore:
    """Spans by trace, as plain dictionaries; safe to use from several threads."""

    def __init__(self, limits: TraceLimits | None = None) -> None:
        self._limits = limits or TraceLimits()
        self._lock = threading.Lock()
        self._traces: OrderedDict[str, list[SpanDict]] = OrderedDict()
        self._span_count = 0

    def __repr__(self) -> str:
        return f"<TraceStore {len(self._traces)} traces, {self._span_count} spans>"

    def add(self, export: ExportTraceServiceRequest) -> None:
        """Keeps all spans of one export."""
        spans = list(read_export(export))
        with self._lock:
            for span in spans:
                self._keep(span)
            while len(self._traces) > self._limits.traces or self._span_count > self._limits.spans:
                _, oldest = self._traces.popitem(last=False)
                self._span_count -= len(oldest)

    def get(self, trace_id: str) -> list[SpanDict] | None:
        """Returns the spans of a trace by their start; None: no such trace here."""
        with self._lock:
            spans = self._traces.get(trace_id.lower())
            return None if spans is None else sorted(spans, key=start_of)

    def find(self, request_id: str) -> list[str]:
        """Returns the ids of the traces with a span of that request, the newest first."""
        with self._lock:
            kept = reversed(self._traces.items())
            return [
                trace_id
                for trace_id, spans in kept
                if any(span["attributes"].get(REQUEST_ID) == request_id for span in spans)
            ]

    def summaries(self, limit: int) -> list[dict[str, Any]]:
        """Returns what a list shows of the newest traces, the newest first."""
        with self._lock:
            newest = [list(spans) for _, spans in zip(range(limit), reversed(self._traces.values()), strict=False)]
        return [summary(spans) for spans in newest]

    def _keep(self, span: SpanDict) -> None:
        spans = self._traces.setdefault(span["trace_id"], [])
        if len(spans) < self._limits.spans_in_one_trace:
            spans.append(span)
            self._span_count += 1


def start_of(span: SpanDict) -> int:
    """Returns when a span began, in nanoseconds since 1970."""
    return int(span["start_ns"])


def summary(spans: list[SpanDict]) -> dict[str, Any]:
    """Returns one line about a trace: its first span, its length, its size, its errors."""
    first = min(spans, key=lambda span: (bool(span["parent_id"]), span["start_ns"]))
    start = min(span["start_ns"] for span in spans)
    return {
        "trace_id": first["trace_id"],
        "name": first["name"],
        "service": first["service"],
        "start_ns": start,
        "duration_ns": max(span["end_ns"] for span in spans) - start,
        "span_count": len(spans),
        "services": sorted({span["service"] for span in spans}),
        "error_count": sum(span["status"] == "ERROR" for span in spans),
        "request_id": next((span["attributes"][REQUEST_ID] for span in spans if REQUEST_ID in span["attributes"]), ""),
    }


def read_export(export: ExportTraceServiceRequest) -> Iterable[SpanDict]:
    """Yields every span of an export with the name of its service."""
    for resource in export.resource_spans:
        service = attributes(resource.resource.attributes).get("service.name", "unknown")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield read_span(span, str(service))


def read_span(span: Span, service: str) -> SpanDict:
    """Returns a span as a dictionary that JSON can hold: ids in hexadecimal, times in nanoseconds since 1970."""
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "name": span_name(span),
        "service": service,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "status": Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        "status_message": span.status.message,
        "attributes": attributes(span.attributes),
        "events": [
            {"name": event.name, "time_ns": event.time_unix_nano, "attributes": attributes(event.attributes)}
            for event in span.events
        ],
        "links": [{"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links],
    }


def span_name(span: Span) -> str:
    """Returns a span's name. Envoy names all tries of a call after the last one's host: here each has its own."""
    host = attributes(span.attributes).get("upstream_address")
    return f"{ENVOY_TRY}{host}" if host and span.name.startswith(ENVOY_TRY) else span.name


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Returns attributes as plain values."""
    return {pair.key: plain(pair.value) for pair in pairs}


def plain(value: AnyValue) -> Any:
    """Returns one attribute's value; bytes in hexadecimal."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    content = getattr(value, kind)
    return content.hex() if isinstance(content, bytes) else content


def trace_document(trace_id: str, spans: list[SpanDict]) -> Mapping[str, Any]:
    """Returns a trace as the API answers it."""
    return {"trace_id": trace_id, "spans": spans}
