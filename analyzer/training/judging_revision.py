"""Judges prompts with a stored revision the way the service does: frame, one forward pass, calibration."""

from collections.abc import Callable, Sequence

from analyzer.adapters.modelstore import Revision
from analyzer.analysis import Analysis
from analyzer.framing import FramedMessage
from analyzer.judging import Calibration, HeadJudge
from analyzer.training.engine import PooledEngine

Progress = Callable[[int, int], None]

_CHUNK_PROMPTS = 256


class NoHeadError(ValueError):
    """The revision has no trained head; the message says how to make one."""


class RevisionJudge:
    """A revision with a head, loaded. Call it with conversations to get analyses."""

    def __init__(self, revision: Revision, *, threads: int = 2) -> None:
        manifest = revision.manifest
        if manifest.judge != "head":
            raise NoHeadError(
                f"revision {revision.name} has no trained head; run 'analyzer train --base {revision.name} --data FILE'"
            )
        self.calibration = Calibration.model_validate(manifest.calibration)
        self._judge = HeadJudge(self.calibration)
        self._parameters = manifest.frame.parameters()
        self._engine = PooledEngine(revision.path, manifest, manifest.output, threads=threads)

    def __call__(
        self, conversations: Sequence[Sequence[FramedMessage]], progress: Progress = lambda _done, _total: None
    ) -> list[Analysis]:
        """Returns one analysis a conversation, in order. `progress` hears prompts done and in all."""
        analyses: list[Analysis] = []
        for start in range(0, len(conversations), _CHUNK_PROMPTS):
            progress(start, len(conversations))
            chunk = conversations[start : start + _CHUNK_PROMPTS]
            frames = [self._engine.frame(messages, self._parameters) for messages in chunk]
            scores = self._engine.pooled([frame.token_ids for frame in frames])
            analyses += [self._judge.judge(line.tolist(), frame) for line, frame in zip(scores, frames, strict=True)]
        progress(len(conversations), len(conversations))
        return analyses
