"""From settings to the parts they describe: no connection is made, nothing runs yet."""

import datetime as dt
from collections.abc import Callable, Mapping

from pydantic import HttpUrl

from router.adapters.cloud_judge import CloudJudge
from router.adapters.openai_client import Endpoint, Headers, OpenAIBackend, Place
from router.answer import Usage
from router.policy import Policy
from router.pricing import Price, PriceBook
from router.request import Tier
from router.settings import (
    BackendSettings,
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


def backends(settings: RouterSettings, environment: Environment, headers: Headers) -> list[OpenAIBackend]:
    """All backends, weakest tier first. Raises SecretError when a key can't be read."""
    return [
        backend(each, tier, environment, headers)
        for tier in Tier
        if tier.name in settings.tiers
        for each in settings.tiers[tier.name].backends  # type: ignore[index]  # the keys are the tiers' names
    ]


def backend(settings: BackendSettings, tier: Tier, environment: Environment, headers: Headers) -> OpenAIBackend:
    """One backend."""
    place = Place(settings.name, tier, settings.weight, settings.context_window, settings.max_output_tokens)
    key = secret(settings.api_key, environment)
    endpoint = Endpoint(_text(settings.base_url), settings.model, key, settings.max_tokens_field)
    return OpenAIBackend(place, endpoint, headers)


def cloud_judge(
    settings: CloudAnalysisSettings, prices: Callable[[], PriceBook], environment: Environment, headers: Headers
) -> CloudJudge | None:
    """The cloud rung; None when the operator has switched it off."""
    if not settings.enabled or settings.base_url is None:
        return None
    key = secret(settings.api_key, environment)
    endpoint = Endpoint(_text(settings.base_url), settings.model, key, settings.max_tokens_field)

    def price(model: str, usage: Usage) -> int | None:
        return prices().price(usage, model, dt.datetime.now(dt.UTC))

    return CloudJudge(endpoint, price, headers)


def secret(reference: SecretRef | None, environment: Environment) -> str:
    """The key behind a reference; empty when none is needed."""
    return reference.read(environment).get_secret_value() if reference is not None else ""


def _text(url: HttpUrl) -> str:
    return str(url).rstrip("/")
