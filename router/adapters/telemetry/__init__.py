"""The router as OpenTelemetry sees it: the only importers of opentelemetry in this service."""

from router.adapters.telemetry.content import ContentCapture
from router.adapters.telemetry.instruments import watch_breakers, watch_budgets, watch_ledger, watch_revisions
from router.adapters.telemetry.listener import TelemetryObserver
from router.adapters.telemetry.quality import CountedOutcomes, QualityObserver
from router.adapters.telemetry.rung_spans import current_trace_id, trace_headers

__all__ = [
    "ContentCapture",
    "CountedOutcomes",
    "QualityObserver",
    "TelemetryObserver",
    "current_trace_id",
    "trace_headers",
    "watch_breakers",
    "watch_budgets",
    "watch_ledger",
    "watch_revisions",
]
