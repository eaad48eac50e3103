"""The engine with its queue and caches, in this process: what gRPC costs is the difference to a service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from analyzer.adapters.modelstore import ModelStore
from analyzer.analyzing import PromptAnalyzer
from analyzer.batching import MicroBatcher, running
from analyzer.bench.load import Outcome, Reply
from analyzer.bench.prompts import PromptSource
from analyzer.conversation import Message, Prompt
from analyzer.loading import ModelLoader
from analyzer.models import Models
from servicekit.deadline import Deadline
from servicekit.errors import DeadlineExceeded, ResourceExhausted, ServiceError


class InProcessTarget:
    """Calls a PromptAnalyzer; give one to a load generator as its call."""

    def __init__(self, analyzer: PromptAnalyzer, prompts: PromptSource, deadline_seconds: float) -> None:
        self._analyzer = analyzer
        self._prompts = prompts
        self._deadline = deadline_seconds

    async def __call__(self, index: int) -> Reply:
        """One analysis with the deadline; an expected error is an outcome, never an exception."""
        prompt = Prompt((Message("user", self._prompts(index)),), "", Deadline.after(self._deadline))
        try:
            finding = await self._analyzer.analyze(prompt)
        except ResourceExhausted:
            return Reply(Outcome.REFUSED)
        except DeadlineExceeded:
            return Reply(Outcome.LATE)
        except ServiceError:
            return Reply(Outcome.FAILED)
        batch_size = finding.scored.batch_size if finding.scored else 0
        return Reply(Outcome.ANSWERED, finding.source.value, batch_size, finding.analysis.prompt_token_count)


@asynccontextmanager
async def in_process(store: ModelStore, revision: str | None, threads: int | None) -> AsyncIterator[PromptAnalyzer]:
    """A loaded revision (None: the active one) behind a queue of its own; raises what loading raises."""
    loaded = await asyncio.to_thread(ModelLoader(store, threads).load, revision)
    async with AsyncExitStack() as stack:
        batcher = MicroBatcher()
        for measured in loaded.passes:
            batcher.pass_time.observe(measured.tokens, measured.seconds)
        running(batcher, stack)
        analyzer = PromptAnalyzer(Models(active=loaded.model), batcher)
        stack.push_async_callback(analyzer.close)
        yield analyzer
