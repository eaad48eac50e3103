"""Builds routers: what a configuration may change is made anew, what requests leave behind is kept."""

import datetime as dt
import time
from dataclasses import dataclass, replace

from router.adapters.cloud_judge import CloudJudge
from router.adapters.telemetry import TelemetryObserver
from router.admission import Admission, AdmissionLimits, CountedRung
from router.analysis import Rung
from router.answer import Usage
from router.attempt import Surroundings
from router.books import Books
from router.breaker import Breaker
from router.budgets import TenantBudgets
from router.cascade import CLOUD_TINY_LIMITS, SELF_HOSTED_LIMITS, Cascade, Step
from router.composition import catalogue
from router.composition.learning import Learning
from router.composition.pool import ClientPool
from router.dispatch import Dispatcher
from router.observer import Observer
from router.once import Earlier, OnceRouter
from router.planning import Planner
from router.ports import AnalysisRung, Ledger
from router.replies import Replies
from router.routing import Router
from router.sessions import SessionLimits, Sessions
from router.settings import DEFAULT_BUDGET, RouterSettings
from router.terms import Terms
from router.tokens import RoughTokens


def utc_now() -> dt.datetime:
    """The date, for prices and ledger rows."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Foundation:
    """What outlives every configuration."""

    analyzer: AnalysisRung
    telemetry: TelemetryObserver
    observer: Observer
    ledger: Ledger
    earlier: Earlier | None
    pool: ClientPool
    learning: Learning | None = None


@dataclass(frozen=True)
class Built:
    """One configuration's router, and the terms it goes by."""

    settings: RouterSettings
    router: OnceRouter
    terms: Terms


class Workshop:
    """Builds a router for each configuration in turn; what requests leave behind passes from one to the next."""

    def __init__(self, foundation: Foundation, settings: RouterSettings) -> None:
        self._foundation = foundation
        self._tokens = RoughTokens()
        self._sessions = Sessions(SessionLimits(seconds=settings.policy.session_seconds))
        self._replies = Replies()
        self.budgets = TenantBudgets({}, utc_now)
        limits = AdmissionLimits(concurrent=settings.limits.concurrent_requests)
        self._admission = Admission(limits, foundation.observer)
        self._breakers = {rung: Breaker(rung.value) for rung in Rung}

    def build(self, settings: RouterSettings) -> Built:
        """The router of these settings. Raises SecretError, and has changed nothing then."""
        keys, cloud = self._foundation.pool.endpoints(settings)
        prices = catalogue.price_book(settings.prices)

        def price(model: str, usage: Usage) -> int | None:
            return prices.price(usage, model, utc_now())

        self.budgets.limits = catalogue.budgets(settings.budgets)
        self.budgets.default = self.budgets.limits.get(DEFAULT_BUDGET)
        judge = self._foundation.pool.judge(cloud, price)
        terms = Terms(catalogue.policy(settings.policy), prices, self._foundation.pool.fleet(keys))
        return Built(settings, self._router(terms, self._cascade(settings, judge)), terms)

    def breakers(self) -> list[Breaker]:
        """All there are, for metrics."""
        return [*self._breakers.values(), *self._foundation.pool.breakers()]

    def _cascade(self, settings: RouterSettings, judge: CloudJudge | None) -> Cascade:
        telemetry = self._foundation.telemetry
        own = replace(SELF_HOSTED_LIMITS, at_most_seconds=settings.analyzer.timeout_ms / 1000)
        steps = {
            Rung.SELF_HOSTED: Step(
                telemetry.traced_rung(CountedRung(self._foundation.analyzer, self._admission)),
                self._breakers[Rung.SELF_HOSTED],
                own,
                enabled=settings.analyzer.enabled,
            )
        }
        if judge is not None:
            cloud = replace(CLOUD_TINY_LIMITS, at_most_seconds=settings.cloud_analysis.timeout_ms / 1000)
            steps[Rung.CLOUD_TINY] = Step(telemetry.traced_rung(judge), self._breakers[Rung.CLOUD_TINY], cloud)
        return Cascade(steps, observer=self._foundation.observer)

    def _router(self, terms: Terms, cascade: Cascade) -> OnceRouter:
        observer, learning = self._foundation.observer, self._foundation.learning
        planner = Planner(self._sessions, self.budgets, self._tokens, observer, utc_now)
        books = Books(self._foundation.ledger, self.budgets, self._sessions, observer, utc_now)
        router = Router(
            terms=(lambda: terms) if learning is None else (lambda: learning.follow(terms)),
            admission=self._admission,
            cascade=cascade,
            planner=planner,
            dispatcher=Dispatcher(Surroundings(self._tokens, observer, time.monotonic, utc_now)),
            books=books,
        )
        routing = router if learning is None else learning.shadowed(router, terms, planner, books)
        return OnceRouter(routing, self._replies, self._foundation.earlier)
