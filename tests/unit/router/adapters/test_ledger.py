"""Spool, mover and store together, on a real disk."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest

from router.adapters.ledger_mover import LedgerMover
from router.adapters.ledger_spool import Segments, Spool, SpoolFull
from router.adapters.sqlite_ledger import SqliteLedger
from router.records import AnalysisRecord, AttemptRecord, RequestRecord
from servicekit.errors import Unavailable

ROOT = Path(__file__).resolve().parents[4]


def record(request_id: str, **changes: object) -> RequestRecord:
    """A routed request with one attempt."""
    attempt = AttemptRecord(1, "small-a", "m", "ANSWERED", 0.2, 0.1, 10, 5, 0, 0, estimated=False, cost_micros=40)
    fields: dict[str, object] = {
        "request_id": request_id,
        "tenant": "local",
        "rpc": "Route",
        "time": "2026-11-23T12:00:00+00:00",
        "status": "OK",
        "team": "search",
        "tier": 1,
        "decided_tier": 1,
        "backend": "small-a",
        "cost_micros": 40,
        "top_tier_micros": 1000,
        "attempts": (attempt,),
        "analysis": AnalysisRecord(source="MODEL", success=(0.9, 0.95, 0.99), skipped=(("SELF_HOSTED", "TIMEOUT"),)),
    }
    return RequestRecord(**(fields | changes))  # type: ignore[arg-type]


class Ledger:
    """The three parts on one folder."""

    def __init__(self, folder: Path, bytes_max: int = 10_000_000) -> None:
        self.spool = Spool(folder / "spool", bytes_max)
        self.segments = Segments(folder / "spool")
        self.store = SqliteLedger(folder / "ledger.sqlite")
        self.mover = LedgerMover(self.spool, self.segments, self.store, 0.01)
        self.path = folder / "ledger.sqlite"

    def ids(self) -> list[str]:
        """Request ids in the store, in order."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [row[0] for row in connection.execute("SELECT request_id FROM requests ORDER BY record")]


async def test_a_move_that_is_cancelled_ends_before_the_next_begins(tmp_path: Path) -> None:
    """The stop cancels the mover amid its work in a thread, then flushes the rest: never two at the same segments."""
    ledger = Ledger(tmp_path)
    ledger.spool.append(record("r"))
    began, may_go_on = threading.Event(), threading.Event()
    usual, at_work, most_at_work = ledger.store.moved_bytes, 0, 0

    def slow() -> dict[str, int]:
        nonlocal at_work, most_at_work
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        began.set()
        may_go_on.wait(10)
        at_work -= 1
        return usual()

    ledger.store.moved_bytes = slow  # type: ignore[method-assign]
    moving = asyncio.create_task(ledger.mover.run())
    await asyncio.to_thread(began.wait, 10)
    moving.cancel()
    rest = asyncio.create_task(ledger.mover.flush())
    await asyncio.sleep(0.1)
    may_go_on.set()
    await rest
    await asyncio.gather(moving, return_exceptions=True)
    assert most_at_work == 1
    assert ledger.ids() == ["r"]


async def test_every_record_arrives_once(tmp_path: Path) -> None:
    """However often the mover runs."""
    ledger = Ledger(tmp_path)
    for number in range(5):
        ledger.spool.append(record(f"r{number}"))
        await ledger.mover.flush()
        await ledger.mover.flush()
    assert ledger.ids() == [f"r{number}" for number in range(5)]
    assert ledger.store.moved_bytes()[ledger.spool.active] == ledger.segments.size(ledger.spool.active)


async def test_a_segment_is_dropped_when_it_is_closed_and_moved(tmp_path: Path) -> None:
    """And what the store remembered of it too."""
    ledger = Ledger(tmp_path)
    ledger.spool.append(record("a"))
    await ledger.mover.flush()
    assert len(ledger.segments.names()) == 1
    ledger.spool.close()
    await ledger.mover.flush()
    assert ledger.segments.names() == []
    assert ledger.store.moved_bytes() == {}
    assert ledger.ids() == ["a"]


async def test_a_live_neighbours_segment_is_moved_but_stays(tmp_path: Path) -> None:
    """Two routers on one folder don't lose or double each other's rows."""
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    one.spool.append(record("a"))
    await other.mover.flush()
    one.spool.append(record("b"))
    await other.mover.flush()
    await one.mover.flush()
    assert one.ids() == ["a", "b"]
    assert one.segments.names() == [one.spool.active]


async def test_a_torn_last_line_is_left_alone(tmp_path: Path) -> None:
    """Half a record at the end of a dead process's segment costs nothing but itself."""
    ledger = Ledger(tmp_path)
    ledger.spool.append(record("a"))
    name = ledger.spool.active
    ledger.spool.close()
    with (tmp_path / "spool" / name).open("ab") as file:
        file.write(b'{"format":1,"request_id":"torn')
    await ledger.mover.flush()
    assert ledger.ids() == ["a"]
    assert ledger.segments.names() == []


async def test_a_line_that_is_no_record_is_counted_and_passed(tmp_path: Path) -> None:
    """Half a line in the middle, which a full disk leaves."""
    ledger = Ledger(tmp_path)
    ledger.spool.append(record("a"))
    with (tmp_path / "spool" / ledger.spool.active).open("ab") as file:
        file.write(b'{"format":1,"requ\n')
    ledger.spool.append(record("b"))
    await ledger.mover.flush()
    assert ledger.ids() == ["a", "b"]
    assert ledger.mover.unreadable == 1


def test_a_full_spool_refuses_and_counts(tmp_path: Path) -> None:
    """It is bounded while the store is down."""
    ledger = Ledger(tmp_path, bytes_max=1500)
    ledger.spool.append(record("a"))
    with pytest.raises(SpoolFull):
        ledger.spool.append(record("b"))
    assert (ledger.spool.appended, ledger.spool.dropped) == (1, 1)


async def test_a_spool_heals_with_its_disk(tmp_path: Path) -> None:
    """A folder that can't be made is a drop; once it can be, records are kept again."""
    (tmp_path / "spool").write_text("in the way")
    ledger = Ledger(tmp_path)
    with pytest.raises(OSError, match="spool"):
        ledger.spool.append(record("a"))
    (tmp_path / "spool").unlink()
    ledger.spool.append(record("b"))
    await ledger.mover.flush()
    assert ledger.ids() == ["b"]
    assert ledger.spool.dropped == 1


async def test_a_store_that_is_away_loses_nothing(tmp_path: Path) -> None:
    """Records wait in the spool."""
    ledger = Ledger(tmp_path)
    ledger.path.mkdir()
    ledger.spool.append(record("a"))
    with pytest.raises(Unavailable):
        await ledger.mover.flush()
    ledger.path.rmdir()
    await ledger.mover.flush()
    assert ledger.ids() == ["a"]


def acknowledged_until_killed(command: list[str], environment: dict[str, str]) -> list[str]:
    """What the program printed up to its sudden end."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        return printed + process.stdout.read().split("\n")[:-1]


async def test_a_killed_process_loses_no_acknowledged_record(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing: every id that was printed is in the store, once."""
    script = textwrap.dedent(
        """
        import itertools, sys
        from pathlib import Path
        from router.adapters.ledger_spool import Spool
        from router.records import RequestRecord
        spool = Spool(Path(sys.argv[1]), 10**9)
        for number in itertools.count():
            spool.append(RequestRecord(f"r{number}", "local", "Route", "2026-11-23T12:00:00+00:00", "OK"))
            print(number, flush=True)
        """
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    command = [sys.executable, "-c", script, str(tmp_path / "spool")]
    acknowledged = acknowledged_until_killed(command, environment)
    ledger = Ledger(tmp_path)
    await ledger.mover.flush()
    kept = ledger.ids()
    assert len(kept) == len(set(kept))
    assert {f"r{number}" for number in acknowledged if number} <= set(kept)


async def test_usage_sums_by_group(tmp_path: Path) -> None:
    """Dearest group first; an unknown cost is counted, not summed as 0."""
    ledger = Ledger(tmp_path)
    for row in (
        record("a"),
        record("b", team="ads", cost_micros=90),
        record("c", cost_micros=None, time="2026-11-24T00:00:00+00:00"),
    ):
        ledger.spool.append(row)
    await ledger.mover.flush()
    rows = ledger.store.usage(["TEAM", "TIER"], "2026-11-01", "2026-12-01")
    assert [(row.group, row.requests, row.cost_micros, row.saved_micros, row.cost_unknown) for row in rows] == [
        (("ads", "SMALL"), 1, 90, 910, 0),
        (("search", "SMALL"), 2, 40, 960, 1),
    ]
    (total,) = ledger.store.usage([], "2026-11-01", "2026-12-01")
    assert (total.requests, total.attempts, total.input_tokens, total.output_tokens) == (3, 3, 30, 15)
    assert ledger.store.usage([], "2026-11-01", "2026-11-02") == []
    assert ledger.store.usage(["DAY"], "2026-11-24", "2026-12-01", tenant="local")[0].group == ("2026-11-24",)
    assert ledger.store.usage([], "2026-11-01", "2026-12-01", tenant="other") == []


async def test_a_later_verdict_replaces_the_earlier(tmp_path: Path) -> None:
    """Outcomes are idempotent."""
    ledger = Ledger(tmp_path)
    ledger.spool.append(record("a"))
    await ledger.mover.flush()
    assert ledger.store.knows("local", "a")
    assert not ledger.store.knows("other", "a")
    assert not ledger.store.put_outcome("local", "a", 1.0, None, "2026-11-23")
    assert ledger.store.put_outcome("local", "a", 0.0, 3, "2026-11-23")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from router.adapters.ledger_spool import Spool
from router.records import RequestRecord

def keep(name):
    try:
        spool.append(RequestRecord(name, "local", "Route", "2026-11-23T12:00:00+00:00", "OK"))
        print(name)
    except OSError:
        pass

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), 10**9)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
for number in range(10):
    keep(f"before-{number}")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for number in range(3):
    keep(f"after-{number}")
print("dropped", spool.dropped)
"""


async def test_a_full_disk_costs_the_records_it_refused_and_no_other(tmp_path: Path) -> None:
    """A write that came short is no line glued to the next one, and the spool heals by itself."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "spool")]
    *kept, (_, dropped) = (line.split() for line in output_of(command, environment))
    ledger = Ledger(tmp_path)
    await ledger.mover.flush()
    assert ledger.ids() == [name for (name,) in kept]
    assert int(dropped) > 0
    assert ledger.mover.unreadable == 1
    assert [name for name in ledger.ids() if name.startswith("after")] == ["after-0", "after-1", "after-2"]


def output_of(command: list[str], environment: dict[str, str]) -> list[str]:
    """Lines that a program prints."""
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
