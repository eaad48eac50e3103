"""What a run under faults has to show: each promise beside what was seen, printed and kept, then judged.

CHAOS_JUDGE=counts judges counts and states alone: on a machine that is busy with other things, times say nothing.
"""

import os
from dataclasses import asdict, dataclass, field

from rich.table import Table

from tests.support.figures import Publish, seconds


@dataclass(frozen=True)
class Promise:
    """What was promised, what was seen, and whether it holds. `timed`: it depends on how fast the machine is."""

    name: str
    wanted: str
    seen: str
    holds: bool
    timed: bool


@dataclass
class Promises:
    """The promises of one test."""

    title: str
    publish: Publish
    rows: list[Promise] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, name: str, wanted: str, seen: object, *, holds: bool) -> None:
        """Adds one of counts or states."""
        self.rows.append(Promise(name, wanted, str(seen), holds, timed=False))

    def timed(self, name: str, wanted: str, seen: object, *, holds: bool) -> None:
        """Adds one that a busy machine may break."""
        self.rows.append(Promise(name, wanted, str(seen), holds, timed=True))

    def note(self, text: str) -> None:
        """Adds a line under the table."""
        self.notes.append(text)

    def settle(self) -> None:
        """Prints and keeps the figures; raises AssertionError naming what does not hold."""
        table = Table("promise", "wanted", "seen", "holds", title=self.title, caption="; ".join(self.notes) or None)
        for row in self.rows:
            table.add_row(row.name, row.wanted, row.seen, "yes" if row.holds else "NO")
        self.publish(self.title.replace(" ", "-"), table, {"promises": [asdict(row) for row in self.rows]})
        lenient = os.environ.get("CHAOS_JUDGE") == "counts"
        broken = [row for row in self.rows if not row.holds and not (lenient and row.timed)]
        assert not broken, broken


def load_seconds(usual: float) -> float:
    """How long a load lasts: CHAOS_SECONDS, else the usual time."""
    return seconds(usual, "CHAOS_SECONDS")
