# ruff: noqa: ASYNC210 - the blocking calls are to a thread of the same process

"""Telemetry honours the standard variables, and no collector, however broken, delays anybody."""

import socket
import time
import urllib.request

import pytest

from servicekit.serving import BindError
from servicekit.telemetry import TelemetrySettings, start_telemetry


async def test_metrics_are_served_and_the_port_is_given_back() -> None:
    """At /metrics, in Prometheus' text format."""
    telemetry = start_telemetry(TelemetrySettings("svc", "1.2", metrics_port=0), {})
    telemetry.meter("m").create_counter("things").add(3)
    url = f"http://127.0.0.1:{telemetry.metrics_port}/metrics"
    text = urllib.request.urlopen(url).read().decode()
    await telemetry.close()
    assert "things_total" in text
    assert 'service_name="svc"' in text
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


async def test_a_taken_metrics_port_is_told() -> None:
    """With its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=f"metrics: port {port} is in use"):
            start_telemetry(TelemetrySettings("svc", metrics_port=port), {})


async def test_nothing_is_exported_without_an_endpoint() -> None:
    """Nobody runs a collector on a laptop."""
    telemetry = start_telemetry(TelemetrySettings("svc"), {})
    assert not telemetry._tracers._active_span_processor._span_processors
    await telemetry.close()


async def test_a_hung_collector_delays_neither_callers_nor_the_end() -> None:
    """The SDK alone would wait for 30 s."""
    with socket.create_server(("127.0.0.1", 0)) as hung:  # accepts, never answers
        endpoint = f"127.0.0.1:{hung.getsockname()[1]}"
        settings = TelemetrySettings("svc", otlp_endpoint=endpoint, shutdown_seconds=0.3)
        telemetry = start_telemetry(settings, {"OTEL_METRICS_EXPORTER": "none"})
        started = time.monotonic()
        for _ in range(5000):
            telemetry.tracer("t").start_span("s").end()
        spent = time.monotonic() - started
        closing = time.monotonic()
        await telemetry.close()
        assert time.monotonic() - closing < 1.5
    assert spent < 5.0


async def test_the_sdk_can_be_switched_off() -> None:
    """By the standard variable."""
    telemetry = start_telemetry(TelemetrySettings("svc", otlp_endpoint="x:1"), {"OTEL_SDK_DISABLED": "true"})
    assert not telemetry.tracer("t").start_span("s").get_span_context().is_valid
    await telemetry.close()
