"""From settings to the values and adapters they describe. No connection is made yet."""

import datetime as dt
from collections.abc import Mapping

from router.adapters.openai_client import Endpoint, Headers, OpenAIBackend, Place
from router.policy import Policy
from router.pricing import Price, PriceBook
from router.purse import BudgetLimits
from router.request import Tier
from router.settings import (
    BackendSettings,
    BudgetSettings,
    CloudAnalysisSettings,
    ModelPrice,
    PolicySettings,
    PriceSettings,
    RouterSettings,
)
from servicekit.secret import SecretRef

Environment = Mapping[str, str]


def price_book(settings: PriceSettings) -> PriceBook:
    """The prices, each from the first moment (UTC) of its day on."""
    prices = {model: tuple(_price(each) for each in entries) for model, entries in settings.models.items()}
    return PriceBook(settings.revision, prices)


def _price(settings: ModelPrice) -> Price:
    return Price(
        input=settings.input_micros_per_mtok,
        output=settings.output_micros_per_mtok,
        effective_from=dt.datetime.combine(settings.effective_from, dt.time(), dt.UTC),
        cached=settings.cached_micros_per_mtok,
        reasoning=settings.reasoning_micros_per_mtok,
    )


def policy(settings: PolicySettings) -> Policy:
    """The configuration's own policy."""
    return Policy(
        revision=settings.revision,
        abilities={Tier[name]: ability for name, ability in settings.abilities.items()},
        quality_target=settings.quality_target,
        confidence_threshold=settings.confidence_threshold,
        default_tier=Tier[settings.default_tier],
    )


def budgets(settings: Mapping[str, BudgetSettings]) -> dict[str, BudgetLimits]:
    """What each tenant may spend."""
    return {
        tenant: BudgetLimits(each.micros_per_day, each.micros_per_minute, each.top_tier_share)
        for tenant, each in settings.items()
    }


def backends(settings: RouterSettings) -> list[tuple[Tier, BackendSettings]]:
    """All backends with their tiers, weakest tier first."""
    tiers = {Tier[name]: tier for name, tier in settings.tiers.items()}
    return [(tier, each) for tier in sorted(tiers) for each in tiers[tier].backends]


def backend(tier: Tier, settings: BackendSettings, endpoint: Endpoint, headers: Headers) -> OpenAIBackend:
    """One backend."""
    place = Place(settings.name, tier, settings.weight, settings.context_window, settings.max_output_tokens)
    return OpenAIBackend(place, endpoint, headers)


def endpoint(settings: BackendSettings | CloudAnalysisSettings, environment: Environment) -> Endpoint:
    """Where a model is asked, with its key. Raises SecretError when the key can't be read."""
    key = secret(settings.api_key, environment)
    return Endpoint(settings.base_url or "", settings.model, key, settings.max_tokens_field)


def secret(reference: SecretRef | None, environment: Environment) -> str:
    """The key behind a reference; empty when none is needed."""
    return reference.read(environment).get_secret_value() if reference is not None else ""
