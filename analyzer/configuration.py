"""From the configuration to what each part is made with."""

from __future__ import annotations

from importlib.metadata import version

from analyzer.backlog import BacklogSettings
from analyzer.batching import BatchSettings
from analyzer.caching import CacheSettings
from analyzer.false_hits import FalseHitSettings
from analyzer.settings import AnalyzerConfig
from servicekit.serving import DrainSettings
from servicekit.telemetry import TelemetrySettings

SERVICE_NAME = "tinyroute-analyzer"
DEFAULT_TOKENS_A_BATCH = 512


def telemetry_settings(config: AnalyzerConfig) -> TelemetrySettings:
    """Returns what the service says of itself, and where."""
    return TelemetrySettings(
        service_name=SERVICE_NAME,
        service_version=version("tinyroute"),
        otlp_endpoint=config.telemetry.otlp_endpoint,
        metrics_host=config.metrics.host,
        metrics_port=config.metrics.port,
    )


def batch_settings(config: AnalyzerConfig, measured_tokens: int | None = None) -> BatchSettings:
    """Returns how batches are formed: as configured, or else as measured on this machine, or else the default."""
    batching = config.batching
    backlog = BacklogSettings(
        tokens_a_batch=batching.tokens_a_batch or measured_tokens or DEFAULT_TOKENS_A_BATCH,
        prompts_a_batch=batching.prompts_a_batch,
        most_waiting=batching.most_waiting,
        longest_wait_seconds=batching.longest_wait_seconds,
        bulk_tokens_a_batch=batching.bulk_tokens_a_batch,
    )
    return BatchSettings(backlog, batching.longest_window_ms / 1000)


def cache_settings(config: AnalyzerConfig) -> CacheSettings:
    """Returns how much is kept."""
    cache = config.cache
    return CacheSettings(cache.exact_megabytes * 2**20, cache.similar_megabytes * 2**20, cache.similar)


def false_hit_settings(config: AnalyzerConfig) -> FalseHitSettings:
    """Returns how similar hits are checked."""
    return FalseHitSettings(config.cache.checked_share, config.cache.most_wrong_share)


def drain_settings(config: AnalyzerConfig) -> DrainSettings:
    """Returns how long the stop may take."""
    return DrainSettings(config.stop.quiet_seconds, config.stop.grace_seconds)
