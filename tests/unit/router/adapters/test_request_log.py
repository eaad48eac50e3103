"""What the log says of requests."""

from structlog.testing import capture_logs

from router.adapters.listeners import Listeners
from router.adapters.request_log import RequestLog
from router.observer import Fault, Observer, Settled
from router.records import AnalysisRecord, RequestRecord

RECORD = RequestRecord(
    request_id="r",
    tenant="local",
    rpc="Route",
    time="2026-11-23T00:00:00+00:00",
    status="OK",
    tier=2,
    backend="m",
    cause="DEFAULT",
    cost_micros=12,
    analysis=AnalysisRecord(skipped=(("SELF_HOSTED", "TIMEOUT"),)),
    timings={"total": 0.25},
)


def test_a_request_is_one_line() -> None:
    """With what became of it and why."""
    with capture_logs() as lines:
        RequestLog().settled(Settled(RECORD, kept=True))
    assert lines == [
        {
            "event": "request",
            "log_level": "info",
            "request_id": "r",
            "rpc": "Route",
            "tenant": "local",
            "status": "OK",
            "tier": "MEDIUM",
            "backend": "m",
            "cause": "DEFAULT",
            "analysis": "NONE",
            "skipped": {"self_hosted": "TIMEOUT"},
            "attempts": 0,
            "cost_micros": 12,
            "milliseconds": 250.0,
        }
    ]


class Broken(Observer):
    """Fails at everything."""

    def settled(self, fact: Settled) -> None:
        """Raises."""
        raise RuntimeError(repr(fact))


class Heard(Observer):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.facts: list[object] = []

    def settled(self, fact: Settled) -> None:
        """Notes it."""
        self.facts.append(fact)

    def fault(self, fact: Fault) -> None:
        """Notes it."""
        self.facts.append(fact)


def test_a_listener_that_fails_leaves_the_others_their_part() -> None:
    """In any order."""
    heard = Heard()
    settled, fault = Settled(RECORD, kept=True), Fault("x", ValueError())
    listeners = Listeners(Broken(), heard, Broken())
    listeners.settled(settled)
    listeners.fault(fault)
    assert heard.facts == [settled, fault]


def test_every_fact_is_passed_on() -> None:
    """A method that Observer gains and Listeners does not would be deaf."""
    told = {name for name in vars(Observer) if not name.startswith("_")}
    assert told <= set(vars(Listeners))
