"""The router's configuration: one versioned YAML, frozen, units in the names. Read once, at the composition root.

Every default is fit for one machine without a key; what has none is what only the operator knows: backends and prices.
"""

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from router.request import Tier
from servicekit.config import ConfigModel
from servicekit.secret import SecretRef

ENVIRONMENT_PREFIX = "TINYROUTE_ROUTER"


def _endpoint(url: str) -> str:
    """Refuses what is no plain address of an HTTP service. Keys have a place of their own."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address such as https://api.example.com/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold neither user, password nor query; a key belongs into api_key")
    return url.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Port = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
PositiveMilliseconds = Annotated[int, Field(ge=1, le=600_000)]
Micros = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
DEFAULT_BUDGET = "default"
"""Under this name: what tenants without a budget of their own may spend."""

TierName = Literal["SMALL", "MEDIUM", "LARGE"]


class ListenSettings(ConfigModel):
    """Where the router is called. Port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: Port = 50050
    admin_port: Port = 50150
    metrics_port: Port = 9464
    reflection: Literal["public", "admin"] = "public"


class AnalyzerSettings(ConfigModel):
    """The self-hosted rung: the analyzers, usually behind an Envoy."""

    target: str = "127.0.0.1:50060"
    timeout_ms: PositiveMilliseconds = 100
    enabled: bool = True


class CloudAnalysisSettings(ConfigModel):
    """The cloud rung: a small OpenAI-compatible model that is asked when no analyzer answers."""

    enabled: bool = False
    base_url: Endpoint | None = None
    model: str = ""
    api_key: SecretRef | None = None
    timeout_ms: PositiveMilliseconds = 1000
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if self.enabled and (self.base_url is None or not self.model):
            raise ValueError("needs base_url and model when enabled")
        return self


class PolicySettings(ConfigModel):
    """The first policy. Abilities: 0 is the reference ability SMALL, 1 MEDIUM, 2 FRONTIER."""

    revision: Name = "configured"
    quality_target: PositiveShare = 0.95
    confidence_threshold: Share = 0.3
    abilities: dict[TierName, Annotated[float, Field(ge=0, le=2)]] = Field(
        default={"SMALL": 0.0, "MEDIUM": 1.0, "LARGE": 2.0}
    )
    default_tier: TierName = "MEDIUM"
    session_seconds: Annotated[int, Field(ge=1)] = 3600

    @model_validator(mode="after")
    def _rises(self) -> Self:
        placed = [self.abilities[tier.name] for tier in Tier if tier.name in self.abilities]
        if placed != sorted(placed):
            raise ValueError("a stronger tier can't have a lower ability than a weaker one")
        return self


class BackendSettings(ConfigModel):
    """One OpenAI-compatible endpoint."""

    name: Name
    base_url: Endpoint
    model: Annotated[str, Field(min_length=1)]
    api_key: SecretRef | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    context_window: Annotated[int, Field(ge=1)] = 8192
    max_output_tokens: Annotated[int, Field(ge=1)] = 1024
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class TierSettings(ConfigModel):
    """The backends of one tier."""

    backends: Annotated[tuple[BackendSettings, ...], Field(min_length=1)]


class ModelPrice(ConfigModel):
    """What a model's tokens cost from a day on (UTC), in millionths of a US dollar per million tokens."""

    effective_from: dt.date = dt.date(2000, 1, 1)
    input_micros_per_mtok: Micros
    output_micros_per_mtok: Micros
    cached_micros_per_mtok: Micros | None = None
    reasoning_micros_per_mtok: Micros | None = None


class PriceSettings(ConfigModel):
    """The price book, by the model's name. A model that is not in it has an unknown price, never 0."""

    revision: Name = "none"
    models: dict[str, tuple[ModelPrice, ...]] = Field(default_factory=dict)


class LedgerSettings(ConfigModel):
    """Where records of requests are kept: a spool, and the store it is moved into."""

    enabled: bool = True
    folder: Path = Path(".run/router")
    flush_interval_ms: PositiveMilliseconds = 200
    spool_bytes_max: Annotated[int, Field(ge=1_048_576)] = 268_435_456


class BudgetSettings(ConfigModel):
    """What a tenant may spend; unset is no limit."""

    micros_per_day: Micros | None = None
    micros_per_minute: Micros | None = None
    top_tier_share: Share | None = None


class LearningSettings(ConfigModel):
    """How policies are learned and followed. Shadow answers cost what any answer costs: none are made unless told."""

    shadow_share: Share = 0.0
    shadow_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    follow_interval_ms: Annotated[int, Field(ge=100, le=5_000)] = 2_000


class TelemetrySettings(ConfigModel):
    """What is told, and where to. The standard OpenTelemetry variables say where the collector is."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    capture_content: bool = False
    capture_characters_max: Annotated[int, Field(ge=0, le=10_000)] = 400


class DrainSettings(ConfigModel):
    """The two stages of a stop."""

    notice_seconds: Annotated[float, Field(ge=0, le=60)] = 1.0
    grace_seconds: Annotated[float, Field(ge=0, le=600)] = 20.0


class LimitSettings(ConfigModel):
    """Bounds of one router."""

    default_deadline_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    batch_concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    concurrent_requests: Annotated[int, Field(ge=1)] = 256


class RouterSettings(ConfigModel):
    """The whole file."""

    version: Literal[1]
    listen: ListenSettings = ListenSettings()
    analyzer: AnalyzerSettings = AnalyzerSettings()
    cloud_analysis: CloudAnalysisSettings = CloudAnalysisSettings()
    policy: PolicySettings = PolicySettings()
    tiers: dict[TierName, TierSettings]
    prices: PriceSettings = PriceSettings()
    ledger: LedgerSettings = LedgerSettings()
    budgets: dict[Name, BudgetSettings] = Field(default_factory=dict)
    learning: LearningSettings = LearningSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    limits: LimitSettings = LimitSettings()
    drain: DrainSettings = DrainSettings()

    @model_validator(mode="after")
    def _backends_have_names_of_their_own(self) -> Self:
        names = [backend.name for tier in self.tiers.values() for backend in tier.backends]
        if not names:
            raise ValueError("tiers: at least one tier with a backend is needed")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"tiers: two backends are called {name}")
        return self
