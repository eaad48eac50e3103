"""The router as OpenTelemetry sees it: the only importers of opentelemetry in this service."""

from router.adapters.telemetry.listener import TelemetryObserver
from router.adapters.telemetry.traced import TracedBackend, TracedRung, current_trace_id, trace_headers

__all__ = ["TelemetryObserver", "TracedBackend", "TracedRung", "current_trace_id", "trace_headers"]
