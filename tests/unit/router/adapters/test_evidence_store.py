"""What the ledger knows becomes evidence; what says nothing of the analyzer in use does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from router.adapters.evidence_store import EvidenceStore
from router.adapters.sqlite_ledger import SqliteLedger
from router.adapters.sqlite_rows import Entry
from router.analysis import Task
from router.learning.evidence import Case, Outcome, Pair
from router.learning.shadowing import Compared
from router.records import AnalysisRecord, RequestRecord
from router.request import Tier

TIERS = tuple(Tier)
RECORD = RequestRecord(
    request_id="r-1",
    tenant="acme",
    rpc="Route",
    time="2026-03-01T00:00:00+00:00",
    status="OK",
    decided_tier=1,
    tier=1,
    estimated_costs={"SMALL": 10, "MEDIUM": None, "LARGE": 900},
    analysis=AnalysisRecord("MODEL", (0.5, 0.6, 0.9), 0.8, "MATH", "tiny-1"),
)
CASE = Case("r-1", "acme", Task.MATH, (0.5, 0.6, 0.9), 0.8, {Tier.SMALL: 10.0, Tier.LARGE: 900.0})


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    """An empty ledger."""
    made = SqliteLedger(tmp_path / "ledger.sqlite")
    made.migrate()
    return made


def keep(ledger: SqliteLedger, *records: RequestRecord) -> None:
    """Moves records into the ledger."""
    ledger.take("s", 0, 1, [Entry("s", number, record) for number, record in enumerate(records)])


def compared(request_id: str = "r-1", lower: Tier = Tier.SMALL, upper: Tier = Tier.MEDIUM) -> Compared:
    """A pair of which the lower answer was wrong."""
    return Compared("acme", request_id, lower, upper, 0.0, 1.0, "v1")


def test_an_empty_ledger_has_no_evidence(ledger: SqliteLedger) -> None:
    """And no error."""
    found = EvidenceStore(ledger.file).evidence(TIERS)
    assert (found.cases, found.outcomes, found.pairs) == ((), (), ())


def test_requests_verdicts_and_pairs_come_back(ledger: SqliteLedger) -> None:
    """Joined with what the analysis said."""
    keep(ledger, RECORD)
    ledger.put_outcome("acme", "r-1", 0.25, None, "2026-03-01T00:01:00+00:00")
    store = EvidenceStore(ledger.file)
    store.put_pair(compared(), "2026-03-01T00:02:00+00:00")
    found = store.evidence(TIERS)
    assert found.cases == (CASE,)
    assert found.outcomes == (Outcome(CASE, Tier.SMALL, 0.25),)
    assert found.pairs == (Pair(CASE, Tier.SMALL, Tier.MEDIUM, 0.0, 1.0),)
    later = store.received(TIERS, "2026-03-01T00:01:30+00:00")
    assert (len(later.cases), len(later.outcomes), len(later.pairs)) == (0, 0, 1)


def test_a_request_has_one_pair_at_most(ledger: SqliteLedger) -> None:
    """The first."""
    keep(ledger, RECORD)
    store = EvidenceStore(ledger.file)
    store.put_pair(compared(), "2026-03-01")
    store.put_pair(replace(compared(), lower_score=1.0), "2026-03-02")
    (pair,) = store.evidence(TIERS).pairs
    assert pair.lower_score == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"rpc": "Shadow"},
        {"rpc": "Decide"},
        {"status": "UNAVAILABLE"},
        {"tier": None},
        {"analysis": replace(RECORD.analysis, source="CLOUD_TINY")},
        {"analysis": replace(RECORD.analysis, revision="tiny-0")},
        {"tenant": "other"},
    ],
    ids=["shadow", "decide", "failed", "unanswered", "cloud", "earlier analyzer", "another tenant's"],
)
def test_what_teaches_nothing_is_left_out(ledger: SqliteLedger, changes: dict[str, object]) -> None:
    """Its verdict counts for nothing either."""
    keep(ledger, replace(RECORD, **{"request_id": "other", **changes}), RECORD)  # type: ignore[arg-type]
    ledger.put_outcome("acme", "other", 0.0, None, "2026-03-01")
    found = EvidenceStore(ledger.file).evidence(TIERS)
    assert found.outcomes == ()
    assert {case.request_id for case in found.cases if case.tenant == "acme"} == {"r-1"}


def test_pairs_of_tiers_no_longer_in_use_are_left_out(ledger: SqliteLedger) -> None:
    """Nor those that were neighbours once."""
    keep(ledger, RECORD, replace(RECORD, request_id="r-2"))
    store = EvidenceStore(ledger.file)
    store.put_pair(compared(), "2026-03-01")
    store.put_pair(compared("r-2", Tier.MEDIUM, Tier.LARGE), "2026-03-01")
    assert len(store.evidence(TIERS).pairs) == 2
    assert [pair.lower for pair in store.evidence((Tier.MEDIUM, Tier.LARGE)).pairs] == [Tier.MEDIUM]
    assert store.evidence((Tier.SMALL, Tier.LARGE)).pairs == ()
