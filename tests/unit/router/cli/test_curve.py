"""The curve of recorded traffic, for people, programs and as a picture."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.adapters.evidence_store import EvidenceStore
from router.adapters.policy_store import PolicyStore
from router.adapters.sqlite_ledger import SqliteLedger
from router.adapters.sqlite_rows import Entry
from router.cli.checking import check
from router.cli.policies import policy
from router.learning.shadowing import Compared
from router.learning.versions import State, Version
from router.policy import Policy
from router.records import AnalysisRecord, RequestRecord
from router.request import Tier
from tests.support.running_router import configuration, write

REQUESTS = 200
PAIRS = 100


def record(number: int) -> RequestRecord:
    """A request of some difficulty."""
    hard = random.Random(number).random()
    return RequestRecord(
        request_id=f"r-{number}",
        tenant="local",
        rpc="Route",
        time="2026-03-01T00:00:00+00:00",
        status="OK",
        tier=1,
        estimated_costs={"SMALL": 100, "MEDIUM": 300, "LARGE": 1000},
        analysis=AnalysisRecord("MODEL", (0.95 - 0.6 * hard, 0.96 - 0.3 * hard, 0.97), 0.9, "MATH", "tiny-1"),
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose ledger has 200 requests and a pair to half of them."""
    tmp_path = tmp_path_factory.mktemp("recorded")
    path = tmp_path / "router.yaml"
    write(path, configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2/v1"))
    ledger = SqliteLedger(tmp_path / "ledger" / "ledger.sqlite")
    ledger.migrate()
    ledger.take("s", 0, 1, [Entry("s", number, record(number)) for number in range(REQUESTS)])
    store = EvidenceStore(ledger.file)
    for number in range(PAIRS):
        store.put_pair(Compared("local", f"r-{number}", Tier.SMALL, Tier.MEDIUM, 1.0, 1.0, "v"), "2026-03-01")
    PolicyStore(ledger.file).put(Version(Policy("v1", quality_target=0.9), State.PROPOSED, "2026-03-01T00:00:00+00:00"))
    return path


def curve(config: Path, *arguments: str) -> str:
    """What `router policy curve` prints."""
    ran = CliRunner().invoke(policy, ["curve", "--config", str(config), *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_programs_get_points_with_intervals(config: Path) -> None:
    """Cheaper thresholds promise less."""
    told = json.loads(curve(config))
    assert (told["revision"], told["cases"], told["pairs"]) == ("configured", REQUESTS, PAIRS)
    costs = [point["mean_cost_micros"]["value"] for point in told["points"]]
    assert costs == sorted(costs)
    assert 100 <= costs[0] < costs[-1] <= 1000
    assert told["drift"] is None
    assert all(point["failure_bound"] > 0 for point in told["points"])
    assert told["quality_target"] in [point["threshold"] for point in told["points"]]


def test_people_see_the_threshold_in_force(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked, with bars."""
    monkeypatch.setattr("router.cli.curve.wants_json", lambda *, asked: asked)
    monkeypatch.setenv("COLUMNS", "140")
    shown = curve(config)
    (line,) = [line for line in shown.splitlines() if line.startswith("→")]
    assert "0.950" in line
    assert "█" in shown
    assert "200 requests, 0 verdicts, 100 shadow pairs" in shown


def test_a_proposal_can_be_looked_at_before_it_is_promoted(config: Path) -> None:
    """By its revision."""
    assert json.loads(curve(config, "--revision", "v1"))["quality_target"] == 0.9
    ran = CliRunner().invoke(policy, ["curve", "--config", str(config), "--revision", "v9"])
    assert ran.exit_code == 6
    assert "no policy of the revision v9" in ran.output


def test_a_picture_is_written(config: Path, tmp_path: Path) -> None:
    """A real PNG."""
    curve(config, "--png", str(tmp_path / "curve.png"))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    ran = CliRunner().invoke(policy, ["curve", "--config", str(config), "--png", str(tmp_path / "no" / "curve.png")])
    assert ran.exit_code == 1
    assert "can't be written" in ran.output


def test_nothing_recorded_is_said_and_makes_no_file(tmp_path: Path) -> None:
    """A look leaves no trace."""
    made = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2/v1")
    write(tmp_path / "router.yaml", made)
    ran = CliRunner().invoke(policy, ["curve", "--config", str(tmp_path / "router.yaml")])
    assert ran.exit_code == 6
    assert "no ledger" in ran.output
    assert not (tmp_path / "ledger").exists()


def test_check_says_which_policy_serves(config: Path) -> None:
    """A promoted one wins."""
    assert "the configuration's own, configured" in CliRunner().invoke(check, ["--config", str(config)]).output
    store = PolicyStore(SqliteLedger(config.parent / "ledger" / "ledger.sqlite").file)
    store.promote("v1", "2026-03-02")
    assert "the policy that serves is v1" in CliRunner().invoke(check, ["--config", str(config)]).output
    store.rollback("2026-03-03", "")
