"""The local stack's OTLP receiver: keeps the last traces in memory, answers for them, and shows them as waterfalls.

    python -m deploy.local.telemetry_sink --grpc-port 4317 --http-port 4318

OTLP over gRPC on one port; on the other OTLP over HTTP, the page for people, and for programs:

    GET /api/traces                      the newest traces, one line about each (?limit=N)
    GET /api/traces?request_id=NAME      whole traces of that request
    GET /api/traces/TRACE_ID             one whole trace

Metrics and logs are accepted and dropped: metrics are read from each service's own Prometheus endpoint.
"""

import argparse
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from deploy.local.trace_http import MAX_BODY_BYTES, TraceRequestHandler
from deploy.local.traces import TraceStore

LOOPBACK = "127.0.0.1"


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what is exported."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - the method's name in the proto
        """Keeps the spans."""
        self._store.add(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class MetricsReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    """Drops what is exported."""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Says thank you."""
        return metrics_service_pb2.ExportMetricsServiceResponse()


class LogsReceiver(logs_service_pb2_grpc.LogsServiceServicer):
    """Drops what is exported."""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Says thank you."""
        return logs_service_pb2.ExportLogsServiceResponse()


def grpc_receiver(store: TraceStore, port: int) -> grpc.Server:
    """Returns a running OTLP/gRPC server; raises RuntimeError when the port can't be opened."""
    options = [("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=options)
    registrations: list[tuple[Callable[..., Any], Any]] = [
        (trace_service_pb2_grpc.add_TraceServiceServicer_to_server, TraceReceiver(store)),
        (metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, MetricsReceiver()),
        (logs_service_pb2_grpc.add_LogsServiceServicer_to_server, LogsReceiver()),
    ]
    for register, servicer in registrations:
        register(servicer, server)
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    server.start()
    return server


def http_receiver(store: TraceStore, port: int) -> ThreadingHTTPServer:
    """Returns a running HTTP server for OTLP, the API and the page; raises OSError when the port can't be opened."""
    handler = type("BoundTraceRequestHandler", (TraceRequestHandler,), {"store": store})
    server = ThreadingHTTPServer((LOOPBACK, port), handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def main() -> None:
    """Receives until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc-port", type=int, default=4317)
    parser.add_argument("--http-port", type=int, default=4318)
    ports = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store = TraceStore()
    with ExitStack() as running:
        running.callback(grpc_receiver(store, ports.grpc_port).stop, grace=0.5)
        running.callback(http_receiver(store, ports.http_port).shutdown)
        print(f"traces: OTLP/gRPC {LOOPBACK}:{ports.grpc_port}, page and OTLP/HTTP http://{LOOPBACK}:{ports.http_port}")
        stop.wait()


if __name__ == "__main__":
    main()
