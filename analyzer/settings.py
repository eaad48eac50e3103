"""The analyzer's configuration: every setting, its unit and its default. The defaults work without any file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from servicekit.config import ConfigModel

ENVIRONMENT_PREFIX = "TINYROUTE_ANALYZER"

Port = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]


class Listen(ConfigModel):
    """The public port: AnalyzerService and health."""

    host: str = "127.0.0.1"
    port: Port = 50051


class Admin(ConfigModel):
    """The operators' port: ModelService, health and reflection."""

    host: str = "127.0.0.1"
    port: Port = 50151


class Metrics(ConfigModel):
    """Prometheus' /metrics; `port: null` for none."""

    host: str = "127.0.0.1"
    port: Port | None = 9465


class ModelChoice(ConfigModel):
    """What is served, and with how many cores."""

    store: Path | None = None
    """The model store's folder; null: TINYROUTE_MODELS, or the user's data folder."""

    revision: str | None = None
    """A revision of the store; null: its active one."""

    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of a forward pass; null: measured on this machine, once a revision."""

    state: Path | None = None
    """Writable folder for what was measured; null: TINYROUTE_STATE, or the user's state folder."""


class Batching(ConfigModel):
    """The queue and the batches."""

    tokens_a_batch: Annotated[int, Field(ge=8)] | None = None
    """Padded tokens of a forward pass; null: as measured with the threads, or 512 where those are configured."""

    prompts_a_batch: Annotated[int, Field(ge=1)] = 32
    bulk_tokens_a_batch: Annotated[int, Field(ge=8)] = 256
    longest_window_ms: Annotated[float, Field(ge=0.0, le=100.0)] = 2.0
    most_waiting: Annotated[int, Field(ge=1)] = 512
    longest_wait_seconds: Seconds = 2.0


class Cache(ConfigModel):
    """The caches of analyses."""

    exact_megabytes: Annotated[int, Field(ge=0)] = 32
    similar_megabytes: Annotated[int, Field(ge=0)] = 32
    similar: bool = True
    checked_share: Share = 0.015
    """Share of the similar hits that are analysed again in the background."""

    most_wrong_share: Share = 0.02
    """The similar cache switches itself off above this share of wrong hits."""


class Limits(ConfigModel):
    """What callers may ask for."""

    default_deadline_seconds: Seconds = 10.0
    """For callers that set none."""

    longest_deadline_seconds: Seconds = 60.0
    concurrent_streams: Annotated[int, Field(ge=1)] = 1024
    """Calls in flight on one connection."""


class Stop(ConfigModel):
    """The two stages of a stop."""

    quiet_seconds: Seconds = 1.0
    """From NOT_SERVING to refusing new calls: health checks have to notice."""

    grace_seconds: Seconds = 10.0


class Log(ConfigModel):
    """Log lines on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    exception_texts: bool = False
    """True: texts of exceptions too, which may quote prompts."""


class TelemetryChoice(ConfigModel):
    """Where spans and metrics go beside /metrics; the standard OTEL_* variables win."""

    otlp_endpoint: str | None = None


class AnalyzerConfig(ConfigModel):
    """The whole configuration of `analyzer serve`."""

    version: Literal[1] = 1
    listen: Listen = Listen()
    admin: Admin = Admin()
    metrics: Metrics = Metrics()
    model: ModelChoice = ModelChoice()
    batching: Batching = Batching()
    cache: Cache = Cache()
    limits: Limits = Limits()
    stop: Stop = Stop()
    log: Log = Log()
    telemetry: TelemetryChoice = TelemetryChoice()
    reflection: bool = True
    """False: reflection on the admin port alone, as in production."""
