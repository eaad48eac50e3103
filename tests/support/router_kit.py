"""A whole router core on fakes and virtual time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from router.adaptive_limit import AdaptiveLimit
from router.admission import Admission, AdmissionLimits, CountedRung
from router.analysis import Rung
from router.attempt import Surroundings
from router.books import Books
from router.breaker import Breaker
from router.budgets import Budgets, Unlimited
from router.cascade import CLOUD_TINY_LIMITS, SELF_HOSTED_LIMITS, Cascade, Step
from router.dispatch import Dispatcher
from router.fakes import FakeBackend, FakeRung, ListLedger, RecordingObserver, an_analysis
from router.fleet import Fleet, Guarded
from router.planning import Planner
from router.policy import Policy
from router.ports import AnalysisRung
from router.pricing import Price, PriceBook
from router.request import Tier
from router.routing import Router
from router.sessions import Sessions
from router.terms import Terms
from router.tokens import RoughTokens
from servicekit.deadline import Deadline
from tests.support import virtual_time

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

PRICES = PriceBook(
    "prices-1",
    {
        "small-model": (Price(1_000_000, 2_000_000, LONG_AGO),),
        "medium-model": (Price(3_000_000, 6_000_000, LONG_AGO),),
        "large-model": (Price(10_000_000, 20_000_000, LONG_AGO),),
    },
)
LIMITS = {Rung.SELF_HOSTED: SELF_HOSTED_LIMITS, Rung.CLOUD_TINY: CLOUD_TINY_LIMITS}


def now() -> datetime:
    """Returns the date on the running loop's virtual clock."""
    return START + timedelta(seconds=virtual_time.clock())


def seconds(length: float) -> Deadline:
    """Returns a deadline so far ahead on the running loop's virtual clock."""
    return Deadline.after(length, virtual_time.clock)


def a_backend(tier: Tier, *script: object, name: str = "", **fields: object) -> FakeBackend:
    """Returns a fake backend of a tier, with the tier's model."""
    word = tier.name.lower()
    return FakeBackend(script or ("hello",), name=name or f"{word}-1", tier=tier, model=f"{word}-model", **fields)  # type: ignore[arg-type]


def three_tiers() -> list[FakeBackend]:
    """Returns one backend a tier, each of which says hello."""
    return [a_backend(tier) for tier in Tier]


@dataclass
class Kit:
    """The parts, to be looked at, and the router made of them."""

    backends: Sequence[FakeBackend] = field(default_factory=three_tiers)
    rungs: Mapping[Rung, FakeRung] = field(default_factory=lambda: {Rung.SELF_HOSTED: FakeRung([an_analysis()])})
    budgets: Budgets = field(default_factory=Unlimited)
    policy: Policy = field(default_factory=lambda: Policy("policy-1"))
    prices: PriceBook = field(default_factory=lambda: PRICES)
    admission_limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    random: float = 0.5

    def __post_init__(self) -> None:
        """Makes the parts."""
        self.observer = RecordingObserver()
        self.ledger = ListLedger()
        self.sessions = Sessions(clock=virtual_time.clock)
        self.fleet = Fleet(
            tuple(Guarded(backend, Breaker(backend.name, clock=virtual_time.clock)) for backend in self.backends),
            lambda: self.random,
        )
        self.breakers = {rung: Breaker(rung.value, clock=virtual_time.clock) for rung in Rung}

    def admission(self) -> Admission:
        """Returns the door."""
        limit = AdaptiveLimit(clock=virtual_time.clock)
        return Admission(self.admission_limits, self.observer, limit, clock=virtual_time.clock)

    def cascade(self, admission: Admission | None = None) -> Cascade:
        """Returns the cascade of the fake rungs, its calls to the analyzers counted at the door if there is one."""
        rungs: dict[Rung, AnalysisRung] = dict(self.rungs)
        if admission is not None and Rung.SELF_HOSTED in rungs:
            rungs[Rung.SELF_HOSTED] = CountedRung(rungs[Rung.SELF_HOSTED], admission)
        steps = {name: Step(rung, self.breakers[name], LIMITS[name]) for name, rung in rungs.items()}
        return Cascade(steps, observer=self.observer, clock=virtual_time.clock)

    def router(self) -> Router:
        """Returns the router. Call it inside the loop."""
        tokens = RoughTokens()
        admission = self.admission()
        return Router(
            terms=lambda: Terms(self.policy, self.prices, self.fleet),
            admission=admission,
            cascade=self.cascade(admission),
            planner=Planner(self.sessions, self.budgets, tokens, self.observer, now),
            dispatcher=Dispatcher(Surroundings(tokens, self.observer, virtual_time.clock, now)),
            books=Books(self.ledger, self.budgets, self.sessions, self.observer, now, virtual_time.clock),
        )
