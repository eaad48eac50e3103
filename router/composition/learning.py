"""Learning as one service does it: the store's policies are followed and watched, shadow pairs are made and kept."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from router.adapters.evidence_store import EvidenceStore
from router.adapters.policy_store import PolicyStore
from router.adapters.sqlite_file import SqliteFile
from router.attempt import Surroundings
from router.books import Books
from router.composition.keeping import Keeping
from router.dispatch import Dispatcher
from router.learning.arms import ShadowArm
from router.learning.judging import agreement
from router.learning.shadowed import ShadowedRouter
from router.learning.shadowing import Compared, Shadows, ShadowSettings
from router.learning.steering import Configured, Steering, keep_following
from router.observer import Observer
from router.once import Routing
from router.planning import Planner
from router.settings import LearningSettings
from router.terms import Terms
from servicekit.errors import Unavailable

INSPECTION_SECONDS = 30.0

_log = structlog.get_logger(__name__)


def learn(
    keeping: Keeping | None, observer: Observer, settings: LearningSettings, terms: Callable[[], Terms]
) -> "Learning | None":
    """What a router with a ledger learns by; None without one."""
    return None if keeping is None else Learning(keeping.store.file, observer, settings, terms)


@dataclass(frozen=True)
class StoredPairs:
    """Keeps pairs in the ledger's store."""

    store: EvidenceStore

    async def put_pair(self, pair: Compared) -> None:
        """Keeps a pair."""
        await asyncio.to_thread(self.store.put_pair, pair, dt.datetime.now(dt.UTC).isoformat())


class Learning:
    """Everything that learning adds to a router with a ledger. `terms` are those of the configuration in force."""

    def __init__(
        self, file: SqliteFile, observer: Observer, settings: LearningSettings, terms: Callable[[], Terms]
    ) -> None:
        self._file = file
        self._terms = terms
        self._started = dt.datetime.now(dt.UTC).isoformat()
        self._interval = settings.follow_interval_ms / 1000
        self._following: asyncio.Task[None] | None = None
        evidence = EvidenceStore(file)
        drawing = ShadowSettings(settings.shadow_share, settings.shadow_concurrency)
        self._shadows = Shadows(StoredPairs(evidence), agreement, observer, drawing)
        self.steering = Steering(PolicyStore(file), evidence, self._configured, lambda: dt.datetime.now(dt.UTC))

    def __repr__(self) -> str:
        return f"Learning({self.steering!r}, {self._shadows!r})"

    def follow(self, terms: Terms) -> Terms:
        """The terms with the policy that serves. Asked with every request."""
        policy = self.steering.instead_of(terms.policy)
        return terms if policy is terms.policy else replace(terms, policy=policy)

    def shadowed(self, router: Routing, terms: Terms, planner: Planner, books: Books) -> Routing:
        """The router, some of whose answers are compared. Shadows are billed, and told to nobody as requests."""
        silent = Observer()
        dispatcher = Dispatcher(Surroundings(planner.tokens, silent, time.monotonic, planner.now))
        arm = ShadowArm(terms, replace(planner, observer=silent), dispatcher, replace(books, observer=silent))
        return ShadowedRouter(router, self._shadows, arm)

    async def start(self) -> None:
        """Goes by the store's policy from now on. A store that is away leaves the configuration's own."""
        try:
            await asyncio.to_thread(self._file.migrate)
            await self.steering.follow()
        except Unavailable as error:
            _log.warning("the configuration's policy serves: the store can't be read", reason=error.message)
        every = max(1, round(INSPECTION_SECONDS / self._interval))
        self._following = asyncio.create_task(keep_following(self.steering, self._interval, every))

    async def close(self) -> None:
        """Ends what is under way."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._shadows.close()

    def _configured(self) -> Configured:
        terms = self._terms()
        return Configured(terms.policy, terms.fleet.tiers(), self._started)
