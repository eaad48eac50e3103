"""Operators stage, activate and roll back; a refusal changes nothing and is remembered."""

from dataclasses import dataclass, field

import pytest

from analyzer.models import Model, Models
from analyzer.observing import RevisionActivated, SilentObserver
from analyzer.switching import ModelSwitch, RevisionFacts
from servicekit.errors import FailedPrecondition, NotFound
from tests.support.fake_model import FakeScorer, fake_model


@dataclass
class FakeStaging:
    """A loaded model and its speed."""

    model: Model
    p99_seconds: float = 0.01


@dataclass
class FakeShelf:
    """Revisions that load at once."""

    seconds: dict[str, float] = field(default_factory=lambda: {"a": 0.01, "b": 0.01, "c": 0.01, "slow": 0.3})
    loaded: list[str] = field(default_factory=list)

    def list_revisions(self) -> list[RevisionFacts]:
        """One."""
        return [RevisionFacts("a", "base", 15, "head", 0.0)]

    def load(self, name: str) -> FakeStaging:
        """Loads what is there."""
        if name not in self.seconds:
            raise NotFound("UNKNOWN_REVISION", f"There is no revision {name}.")
        self.loaded.append(name)
        return FakeStaging(fake_model(FakeScorer(name)), self.seconds[name])


class Listener(SilentObserver):
    """Keeps the switches."""

    def __init__(self) -> None:
        self.switches: list[RevisionActivated] = []

    def revision_activated(self, fact: RevisionActivated) -> None:
        """Keeps one."""
        self.switches.append(fact)


def made() -> tuple[ModelSwitch, Models, FakeShelf, Listener]:
    """A switch on a replica that serves `a`."""
    models, shelf, listener = Models(active=fake_model(FakeScorer("a"))), FakeShelf(), Listener()
    return ModelSwitch(models, shelf, listener), models, shelf, listener


async def test_a_staged_revision_answers_after_one_switch_and_goes_back() -> None:
    """From memory: nothing is loaded again."""
    switch, models, shelf, listener = made()
    await switch.stage("b")
    assert (models.answering().revision, models.staged_revision) == ("a", "b")
    await switch.activate("b", force=False)
    assert (models.answering().revision, models.previous_revision, models.staged_revision) == ("b", "a", None)
    await switch.rollback()
    assert (models.answering().revision, models.previous_revision) == ("a", "b")
    assert shelf.loaded == ["b"]
    assert listener.switches == [RevisionActivated("b", "a"), RevisionActivated("a", "b")]


async def test_rolling_back_loads_again_what_staging_pushed_out() -> None:
    """Two models at most are in memory."""
    switch, models, shelf, _ = made()
    await switch.stage("b")
    await switch.activate("b", force=False)
    await switch.stage("c")
    await switch.rollback()
    assert models.answering().revision == "a"
    assert shelf.loaded == ["b", "c", "a"]


async def test_what_is_not_staged_is_not_activated() -> None:
    """And the reason is kept for GetServingState."""
    switch, models, _, _ = made()
    with pytest.raises(FailedPrecondition, match="not staged"):
        await switch.activate("b", force=False)
    assert models.answering().revision == "a"
    assert "not staged" in models.last_refusal


async def test_a_revision_too_slow_for_this_machine_has_to_be_forced() -> None:
    """The message gives the figure."""
    switch, models, _, _ = made()
    await switch.stage("slow")
    with pytest.raises(FailedPrecondition, match="300 ms"):
        await switch.activate("slow", force=False)
    await switch.activate("slow", force=True)
    assert models.answering().revision == "slow"


async def test_an_unknown_revision_is_not_found() -> None:
    """The active one serves on."""
    switch, models, _, _ = made()
    with pytest.raises(NotFound):
        await switch.stage("zzz")
    assert models.answering().revision == "a"
    assert "zzz" in models.last_refusal


async def test_without_a_revision_before_there_is_no_way_back() -> None:
    """A first start has none."""
    switch, _, _, _ = made()
    with pytest.raises(FailedPrecondition, match="No other revision"):
        await switch.rollback()


async def test_activating_what_is_active_changes_nothing() -> None:
    """Safe to retry."""
    switch, models, _, listener = made()
    await switch.stage("b")
    await switch.activate("b", force=False)
    await switch.activate("b", force=False)
    assert models.previous_revision == "a"
    assert len(listener.switches) == 1
