"""A model without weights: scores come from a script, passes last as long as a test wants."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analyzer.analysis import Ability, Analysis, Task
from analyzer.conversation import Message, Prompt
from analyzer.framing import Frame
from analyzer.models import Model
from servicekit.deadline import Deadline


@dataclass(eq=False)
class FakeScorer:
    """Scores a prompt with its first token; every pass is kept, and waits for `gate` when there is one."""

    revision: str = "fake-1"
    seconds: float = 0.0
    error: Exception | None = None
    gate: asyncio.Event | None = None
    passes: list[list[list[int]]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first pass begins."""

    async def score(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Returns one score a prompt."""
        self.passes.append([list(prompt) for prompt in batch])
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return [[float(prompt[0])] for prompt in batch]

    @property
    def prompt_count(self) -> int:
        """Prompts in all passes."""
        return sum(map(len, self.passes))


class FakeJudge:
    """Takes a score for the success of SMALL, in thousandths."""

    def judge(self, scores: Sequence[float], frame: Frame) -> Analysis:
        """Judges one prompt."""
        small = scores[0] % 1000 / 1000
        return Analysis(
            success={Ability.SMALL: small, Ability.MEDIUM: small, Ability.FRONTIER: max(small, 0.9)},
            confidence=0.8,
            task_probabilities={task: 1 / len(Task) for task in Task},
            expected_output_tokens=100,
            prompt_token_count=frame.prompt_token_count,
            truncated=frame.truncated,
        )


def fake_model(scorer: FakeScorer, score_of: Callable[[str], int] = len) -> Model:
    """A model whose first token is `score_of` the last message; its length is that message's words."""

    def frame(messages: Sequence[Message]) -> Frame:
        words = messages[-1].content.split() or [""]
        return Frame((score_of(messages[-1].content), *[0] * (len(words) - 1)), len(words), truncated=False)

    return Model(scorer.revision, frame, scorer, FakeJudge())


def prompt(text: str, *, tenant: str = "local", seconds: float = 5.0, bypass_cache: bool = False) -> Prompt:
    """A conversation of one message."""
    return Prompt((Message("user", text),), tenant, Deadline.after(seconds), bypass_cache)
