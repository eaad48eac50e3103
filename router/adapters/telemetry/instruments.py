"""The router's metrics. Label values come from enums and from the configuration, never from a caller."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation, UpDownCounter

from router import attributes
from router.breaker import Breaker, State

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BREAKER_STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


@dataclass(frozen=True)
class Instruments:
    """One instrument a question."""

    request_duration: Histogram
    stage_duration: Histogram
    rung_duration: Histogram
    decisions: Counter
    fail_open: Counter
    attempt_duration: Histogram
    first_chunk: Histogram
    tokens: Counter
    cost: Counter
    saving: UpDownCounter
    cost_unknown: Counter
    refusals: Counter
    faults: Counter
    ledger_failures: Counter


def make_instruments(meter: Meter) -> Instruments:
    """Creates them; the names are what dashboards and alerts rely on."""

    def seconds(name: str, description: str) -> Histogram:
        return meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=SECONDS
        )

    def count(name: str, description: str, unit: str = "1") -> Counter:
        return meter.create_counter(name, unit, description)

    return Instruments(
        request_duration=seconds("tinyroute.router.request.duration", "From arrival to answer."),
        stage_duration=seconds("tinyroute.router.stage.duration", "Analysis, plan and settle."),
        rung_duration=seconds("tinyroute.router.rung.duration", "One rung of the analysis cascade."),
        decisions=count("tinyroute.router.decisions", "Decisions by the rung they rest on."),
        fail_open=count("tinyroute.router.fail_open", "Rungs that gave no analysis, by reason."),
        attempt_duration=seconds("gen_ai.client.operation.duration", "One call to a backend."),
        first_chunk=seconds("gen_ai.client.operation.time_to_first_chunk", "Until a backend's first token."),
        tokens=count("tinyroute.router.tokens", "Tokens of all attempts."),
        cost=count("tinyroute.router.cost", "Known cost of requests.", "{microdollar}"),
        saving=meter.create_up_down_counter(
            "tinyroute.router.saving", unit="{microdollar}", description="Saved against always using the top tier."
        ),
        cost_unknown=count("tinyroute.router.cost_unknown", "Requests without a known cost."),
        refusals=count("tinyroute.router.refusals", "Requests turned away, by reason."),
        faults=count("tinyroute.router.faults", "Bugs that requests went on without."),
        ledger_failures=count("tinyroute.router.ledger.failures", "Records not kept."),
    )


def watch_breakers(meter: Meter, breakers: Callable[[], Iterable[Breaker]]) -> None:
    """Publishes each breaker's state: 0 closed, 1 half-open, 2 open."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(BREAKER_STATES[each.state], {attributes.BREAKER: each.name}) for each in breakers()]

    meter.create_observable_gauge("tinyroute.router.breaker.state", [observe], description="0 closed, 1 half, 2 open.")


def watch_ledger(meter: Meter, counts: Callable[[], Mapping[str, int]]) -> None:
    """Publishes the ledger's counts: records kept, dropped, moved into the store, unreadable."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, {attributes.STATUS: name}) for name, value in counts().items()]

    meter.create_observable_counter(
        "tinyroute.router.ledger.records", [observe], description="Records by what became of them."
    )


def watch_budgets(meter: Meter, shares: Callable[[], Mapping[str, float]]) -> None:
    """Publishes which share of its day's budget each tenant named in the configuration has spent."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(share, {attributes.TENANT: tenant}) for tenant, share in shares().items()]

    meter.create_observable_gauge("tinyroute.router.budget.spent", [observe], "1", "Share of the day's budget.")


def watch_revisions(meter: Meter, revisions: Callable[[], tuple[str, str]]) -> None:
    """Publishes a 1 with the revisions of policy and prices in force."""

    def observe(_: CallbackOptions) -> Iterable[Observation]:
        policy, prices = revisions()
        return [Observation(1, {attributes.POLICY_REVISION: policy, attributes.PRICE_REVISION: prices})]

    meter.create_observable_gauge("tinyroute.router.revision.info", [observe], description="1 for what is in force.")
