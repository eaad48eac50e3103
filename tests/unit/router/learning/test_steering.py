"""How a policy comes to serve, is followed, and is left when it disappoints."""

import datetime as dt
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from router.learning.evidence import Case, Evidence
from router.learning.ports import Serving
from router.learning.proposing import Check, Objective
from router.learning.steering import Configured, Steering, promise
from router.learning.versions import State, Version
from router.policy import Policy
from router.request import Tier
from servicekit.errors import FailedPrecondition, NotFound, Unavailable
from tests.support.learning_worlds import TIERS, World, observe

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
OWN = Policy("configured", confidence_threshold=0.0)


@dataclass
class Pile:
    """Policies in memory."""

    versions: dict[str, Version] = field(default_factory=dict)
    pile: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def put(self, version: Version) -> None:
        """Keeps it."""
        self.versions[version.policy.revision] = version

    def get(self, revision: str) -> Version | None:
        """Finds it."""
        return self.versions.get(revision)

    def serving(self) -> Serving | None:
        """The top of the pile."""
        if self.failure is not None:
            raise self.failure
        return Serving(self.versions[self.pile[-1]], NOW.isoformat()) if self.pile else None

    def promote(self, revision: str, _now: str) -> Serving | None:
        """Puts it on top."""
        self.pile.append(revision)
        self.versions[revision] = replace(self.versions[revision], state=State.PROMOTED)
        return self.serving()

    def rollback(self, _now: str, note: str, expected: str = "") -> bool:
        """Takes the top off."""
        if not self.pile or expected not in {"", self.pile[-1]}:
            return False
        self.pile.pop()
        self.notes.append(note)
        return True


@dataclass
class Known:
    """Evidence in memory."""

    seen: Evidence

    def evidence(self, _tiers: tuple[Tier, ...]) -> Evidence:
        """All of it."""
        return self.seen

    def received(self, _tiers: tuple[Tier, ...], _since: str) -> Evidence:
        """All of it."""
        return self.seen


def steering(pile: Pile, known: Known) -> Steering:
    """A router's view."""
    return Steering(pile, known, lambda: Configured(OWN, TIERS), lambda: NOW)


@pytest.fixture
def known() -> Known:
    """What is recorded of 4,000 requests."""
    return Known(observe(World(), OWN, 4000, np.random.default_rng(3)))


async def test_the_configurations_own_policy_serves_first(known: Known) -> None:
    """And says so."""
    made = steering(Pile(), known)
    assert made.policy().revision == "configured"
    assert (await made.find("")).state is State.CONFIGURED
    with pytest.raises(NotFound):
        await made.find("v9")
    with pytest.raises(FailedPrecondition):
        await made.rollback()


async def test_a_proposal_serves_nobody_until_it_is_promoted(known: Known) -> None:
    """Then every router that follows the store goes by it."""
    pile = Pile()
    one, other = steering(pile, known), steering(pile, known)
    proposed = await one.propose(Objective(0.95))
    assert proposed.policy.revision.startswith("20260301-000000-")
    assert one.policy().revision == "configured"
    await one.promote(proposed.policy.revision)
    assert other.policy().revision == "configured"
    await other.follow()
    assert other.policy().revision == one.policy().revision == proposed.policy.revision
    assert (await other.find(proposed.policy.revision)).state is State.PROMOTED
    assert (await other.rollback()).state is State.CONFIGURED


async def test_a_budget_keeps_the_quality_target_that_serves(known: Known) -> None:
    """It is what the bound is about."""
    pile = Pile()
    made = steering(pile, known)
    await made.promote((await made.propose(Objective(0.9))).policy.revision)
    proposed = await made.propose(Objective(mean_cost_micros=500.0))
    assert proposed.objective == Objective(0.9, 500.0)


async def test_a_proposal_that_failed_its_check_is_refused(known: Known) -> None:
    """With the figures."""
    pile = Pile()
    pile.put(Version(Policy("v1"), State.PROPOSED, "", check=Check(100, 0.2, 0.1, passed=False)))
    with pytest.raises(FailedPrecondition, match=r"0\.2000 after 0\.1000"):
        await steering(pile, known).promote("v1")
    with pytest.raises(NotFound):
        await steering(pile, known).promote("v2")


async def test_a_fall_in_quality_reverts_by_itself(known: Known) -> None:
    """Once, with a note of why, and not without a fall."""
    pile = Pile()
    one, other = steering(pile, known), steering(pile, known)
    await one.promote((await one.propose(Objective(0.95))).policy.revision)
    await other.follow()
    known.seen = observe(World(), one.policy(), 3000, np.random.default_rng(4))
    assert await one.inspect() == ""
    known.seen = observe(World(place=(0.4, 0.75, 1.6)), one.policy(), 2500, np.random.default_rng(5))
    assert "Shadow pairs" in await one.inspect()
    assert one.policy().revision == "configured"
    assert "Shadow pairs" in await other.inspect()
    assert len(pile.notes) == 1
    assert other.policy().revision == "configured"
    assert await other.inspect() == ""


@pytest.mark.parametrize(
    ("objective", "bound", "held_to"),
    [
        (Objective(0.95), 0.05, 0.95),
        (Objective(0.95), 0.12, 0.88),
        (Objective(0.95), None, 0.95),
        (Objective(0.95, 500.0), 0.3, 0.7),
        (Objective(0.95, 500.0), None, 0.0),
    ],
)
def test_a_version_is_held_to_what_was_said_of_it(objective: Objective, bound: float | None, held_to: float) -> None:
    """A cost that was asked for is no promise of quality."""
    version = Version(OWN, State.PROMOTED, "", objective, failure_bound=bound, reported_quality=0.9)
    assert promise(version).quality_target == pytest.approx(held_to)
    assert promise(version).reported_quality == 0.9


async def test_a_store_that_is_away_leaves_the_policy_in_place(known: Known) -> None:
    """The last one known serves on."""
    pile = Pile()
    made = steering(pile, known)
    promoted = await made.promote((await made.propose(Objective(0.95))).policy.revision)
    pile.failure = Unavailable("STORE_UNREACHABLE", "away")
    with pytest.raises(Unavailable):
        await made.follow()
    assert made.policy().revision == promoted.policy.revision


async def test_tiers_configured_since_have_a_place(known: Known) -> None:
    """A promoted policy that never heard of a tier takes the configuration's."""
    pile = Pile()
    pile.put(Version(Policy("v1", abilities={Tier.SMALL: 0.3}), State.PROPOSED, ""))
    made = steering(pile, known)
    await made.promote("v1")
    assert made.policy().abilities == {**OWN.abilities, Tier.SMALL: 0.3}
    assert isinstance(known.seen.outcomes[0].case, Case)
