"""Clients of backends and of the cloud judge: kept while their configuration stays as it is, else retired."""

from typing import Protocol

from router.adapters.cloud_judge import CloudJudge, Price
from router.adapters.openai_client import Endpoint, OpenAIBackend
from router.adapters.telemetry import TelemetryObserver, trace_headers
from router.breaker import Breaker
from router.composition import catalogue
from router.fleet import Fleet, Guarded
from router.request import Tier
from router.settings import BackendSettings, RouterSettings

Key = tuple[Tier, BackendSettings, Endpoint]


class Closable(Protocol):
    """Something with connections."""

    async def close(self) -> None:
        """Closes them."""
        ...


class ClientPool:
    """What the routers of one process speak to, each behind its breaker."""

    def __init__(self, observer: TelemetryObserver, environment: catalogue.Environment) -> None:
        self._observer = observer
        self._environment = environment
        self._members: dict[Key, tuple[Guarded, OpenAIBackend]] = {}
        self._judge: tuple[Endpoint, CloudJudge] | None = None
        self._retired: list[Closable] = []

    def __repr__(self) -> str:
        return f"ClientPool({len(self._members)} backends, {len(self._retired)} retired clients)"

    def endpoints(self, settings: RouterSettings) -> tuple[list[Key], Endpoint | None]:
        """Reads every key: backends, and the cloud judge's unless it is switched off. Raises SecretError."""
        keys = [
            (tier, each, catalogue.endpoint(each, self._environment)) for tier, each in catalogue.backends(settings)
        ]
        cloud = settings.cloud_analysis
        return keys, catalogue.endpoint(cloud, self._environment) if cloud.enabled else None

    def fleet(self, keys: list[Key]) -> Fleet:
        """The backends asked for; those that stay as they are keep their connections and their breakers."""
        kept = {key: self._members.get(key) or self._member(*key) for key in keys}
        self._retired += [client for key, (_, client) in self._members.items() if key not in kept]
        self._members = kept
        return Fleet(tuple(guarded for guarded, _ in kept.values()))

    def judge(self, endpoint: Endpoint | None, price: Price) -> CloudJudge | None:
        """The cloud judge; None when it is switched off."""
        if self._judge is not None:
            before, judge = self._judge
            if before == endpoint:
                return judge
            self._retired.append(judge)
        self._judge = (endpoint, CloudJudge(endpoint, price, trace_headers)) if endpoint is not None else None
        return self._judge[1] if self._judge else None

    def breakers(self) -> list[Breaker]:
        """Those of the backends in use."""
        return [guarded.breaker for guarded, _ in self._members.values()]

    def take_retired(self) -> list[Closable]:
        """Gives out the clients that nothing names any more, to be closed once no request can be using them."""
        retired, self._retired = self._retired, []
        return retired

    async def close(self) -> None:
        """Closes everything."""
        self._retired += [client for _, client in self._members.values()]
        self._retired += [self._judge[1]] if self._judge else []
        self._members, self._judge = {}, None
        for client in self.take_retired():
            await client.close()

    def _member(self, tier: Tier, settings: BackendSettings, endpoint: Endpoint) -> tuple[Guarded, OpenAIBackend]:
        client = catalogue.backend(tier, settings, endpoint, trace_headers)
        return Guarded(self._observer.traced_backend(client), Breaker(settings.name)), client
