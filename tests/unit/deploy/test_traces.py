"""The trace receiver's store: what it keeps, and what goes first when it is full."""

from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from deploy.local.traces import REQUEST_ID, TraceLimits, TraceStore
from router import attributes


def text(key: str, value: str) -> KeyValue:
    """A string attribute."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def span(trace: int, number: int, parent: int = 0, **fields: object) -> Span:
    """A span of a numbered trace, ten nanoseconds long."""
    made = Span(
        trace_id=bytes([trace] * 16),
        span_id=bytes([number] * 8),
        parent_span_id=bytes([parent] * 8) if parent else b"",
        name=f"span {number}",
        start_time_unix_nano=number * 10,
        end_time_unix_nano=number * 10 + 10,
    )
    made.MergeFrom(Span(**fields))  # type: ignore[arg-type]
    return made


def export(spans: Sequence[Span], service: str = "router") -> ExportTraceServiceRequest:
    """One export of one service."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(text("service.name", service))
    resource.scope_spans.add().spans.extend(spans)
    return request


def test_a_trace_gathers_the_spans_of_all_services_by_start() -> None:
    """Whatever order they come in."""
    store = TraceStore()
    store.add(export([span(1, 2, parent=1)], "analyzer"))
    store.add(export([span(1, 1)], "router"))
    spans = store.get("01" * 16) or []
    assert [(each["name"], each["service"], each["parent_id"]) for each in spans] == [
        ("span 1", "router", ""),
        ("span 2", "analyzer", "01" * 8),
    ]


def test_attributes_status_and_links_become_plain_values() -> None:
    """As JSON can hold them."""
    store = TraceStore()
    several = KeyValue(key="several", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=3)])))
    made = span(
        1,
        1,
        status=Status(code=Status.STATUS_CODE_ERROR, message="broken"),
        attributes=[text("a", "b"), several, KeyValue(key="raw", value=AnyValue(bytes_value=b"\x0f"))],
        links=[Span.Link(trace_id=bytes([2] * 16), span_id=bytes([3] * 8))],
    )
    store.add(export([made]))
    (kept,) = store.get("01" * 16) or []
    assert kept["attributes"] == {"a": "b", "several": [3], "raw": "0f"}
    assert (kept["status"], kept["status_message"]) == ("ERROR", "broken")
    assert kept["links"] == [{"trace_id": "02" * 16, "span_id": "03" * 8}]


def test_a_request_is_found_by_its_id() -> None:
    """On any of its spans; the newest trace first."""
    store = TraceStore()
    for trace in (1, 2, 3):
        request_id = "other" if trace == 2 else "mine"
        store.add(export([span(trace, 1, attributes=[text(REQUEST_ID, request_id)])]))
    assert store.find("mine") == ["03" * 16, "01" * 16]
    assert store.find("nobody's") == []


def test_the_request_id_is_the_attribute_that_the_router_writes() -> None:
    """The receiver knows one name of the router's."""
    assert REQUEST_ID == attributes.REQUEST_ID


def test_the_oldest_traces_go_first() -> None:
    """When there are too many of them, or too many spans."""
    store = TraceStore(TraceLimits(traces=2, spans=5, spans_in_one_trace=4))
    for trace in (1, 2, 3):
        store.add(export([span(trace, 1)]))
    assert store.get("01" * 16) is None
    store.add(export([span(4, number) for number in range(1, 10)]))
    assert [each["trace_id"] for each in store.summaries(10)] == ["04" * 16, "03" * 16]
    assert len(store.get("04" * 16) or []) == 4
    assert repr(store) == "<TraceStore 2 traces, 5 spans>"


def test_a_summary_names_the_root_and_counts() -> None:
    """Length from the first start to the last end."""
    store = TraceStore()
    failed = Status(code=Status.STATUS_CODE_ERROR)
    store.add(export([span(1, 5, parent=1, status=failed)], "analyzer"))
    store.add(export([span(1, 1, attributes=[text(REQUEST_ID, "mine")])]))
    (line,) = store.summaries(5)
    assert (line["name"], line["request_id"], line["span_count"], line["error_count"]) == ("span 1", "mine", 2, 1)
    assert (line["duration_ns"], line["services"]) == (50, ["analyzer", "router"])


def test_each_try_of_a_hedged_call_is_named_after_its_own_host() -> None:
    """Envoy names them all after the last one's."""
    store = TraceStore()
    for number, host in enumerate(("10.0.0.1:50051", "10.0.0.2:50051"), start=1):
        store.add(
            export([span(1, number, name="envoy to 10.0.0.2:50051", attributes=[text("upstream_address", host)])])
        )
    assert [each["name"] for each in store.get("01" * 16) or []] == [
        "envoy to 10.0.0.1:50051",
        "envoy to 10.0.0.2:50051",
    ]
