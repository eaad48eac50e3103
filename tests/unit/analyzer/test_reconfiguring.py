"""A changed configuration takes effect as far as it can; a wrong one changes nothing."""

from pathlib import Path

import pytest

from analyzer.batching import MicroBatcher
from analyzer.configuration import batch_settings
from analyzer.models import Models
from analyzer.reconfiguring import Reconfiguration, Reread
from analyzer.settings import AnalyzerConfig, Batching, Limits, Listen, ModelChoice
from analyzer.switching import ModelSwitch
from servicekit.config import ConfigError
from servicekit.errors import NotFound
from tests.support.fake_model import FakeScorer, fake_model


class Handler:
    """Something with limits."""

    limits = Limits()


class Shelf:
    """One revision."""

    def list_revisions(self) -> list[object]:
        """None."""
        return []

    def load(self, name: str) -> object:
        """Loads `b`."""
        if name != "b":
            raise NotFound("UNKNOWN_REVISION", "There is none.")
        return type("Staging", (), {"model": fake_model(FakeScorer(name)), "p99_seconds": 0.01})()


class Running:
    """A service's changeable parts."""

    def __init__(self) -> None:
        self.batcher, self.handler = MicroBatcher(batch_settings(AnalyzerConfig())), Handler()
        self.models = Models(active=fake_model(FakeScorer("a")))
        switch = ModelSwitch(self.models, Shelf())  # type: ignore[arg-type]
        self.reconfiguration = Reconfiguration(AnalyzerConfig(), None, self.batcher, self.handler, switch)


async def test_queue_limits_and_revision_change_at_once() -> None:
    """Without a restart."""
    service = Running()
    await service.reconfiguration.apply(
        AnalyzerConfig(
            batching=Batching(most_waiting=7),
            limits=Limits(default_deadline_seconds=3.0),
            model=ModelChoice(revision="b"),
        )
    )
    assert service.batcher.backlog_settings.most_waiting == 7
    assert service.handler.limits.default_deadline_seconds == 3.0
    assert service.models.answering().revision == "b"


async def test_what_takes_a_restart_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else."""
    service = Running()
    await service.reconfiguration.apply(AnalyzerConfig(listen=Listen(port=1), limits=Limits(concurrent_streams=9)))
    printed = capsys.readouterr().out
    assert "take a restart" in printed
    assert "['listen']" in printed


async def test_a_revision_that_is_refused_leaves_the_old_one() -> None:
    """The rest of the file still applies."""
    service = Running()
    await service.reconfiguration.apply(
        AnalyzerConfig(model=ModelChoice(revision="zzz"), batching=Batching(most_waiting=7))
    )
    assert service.models.answering().revision == "a"
    assert service.batcher.backlog_settings.most_waiting == 7


async def test_a_wrong_file_changes_nothing() -> None:
    """It is logged with its mistakes."""

    def read() -> AnalyzerConfig:
        raise ConfigError("analyzer.yaml:3: listen.prot: unknown key")

    service = Running()
    before = service.batcher.backlog_settings
    await service.reconfiguration.read_again(Reread(Path("analyzer.yaml"), read))
    assert service.batcher.backlog_settings is before
