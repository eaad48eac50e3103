"""A running analyzer as a target to load, directly or through Envoy."""

import grpc
import grpc.aio
from tinyroute.analyzer.v1 import analyzer_pb2
from tinyroute.analyzer.v1.analyzer_pb2_grpc import AnalyzerServiceStub
from tinyroute.prompt.v1 import prompt_pb2

from analyzer.bench.load import Load, Outcome, Reply, put
from analyzer.bench.prompts import PromptSource
from analyzer.bench.summary import Summary, summarise
from servicekit.fingerprint import affinity_bucket

_OUTCOMES = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: Outcome.REFUSED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Outcome.LATE,
}


WARM_UP_CALLS = 5


async def load_service(target: str, source: PromptSource, load: Load) -> Summary:
    """Loads the service at `target` (host:port); the first calls, which set the connection up, are not counted."""
    async with grpc.aio.insecure_channel(target) as channel:
        warm_up = ServiceTarget(channel, source, deadline_seconds=5.0)
        for index in range(WARM_UP_CALLS):
            await warm_up(-1000 - index)
        samples = await put(load, ServiceTarget(channel, source, load.deadline_ms / 1e3))
    return summarise(samples, load.seconds, load.deadline_ms)


class ServiceTarget:
    """Calls AnalyzePrompt; give one to a load generator as its call."""

    def __init__(self, channel: grpc.aio.Channel, prompts: PromptSource, deadline_seconds: float) -> None:
        self._stub = AnalyzerServiceStub(channel)
        self._prompts = prompts
        self._deadline = deadline_seconds

    async def __call__(self, index: int) -> Reply:
        """One call with the deadline; a status is an outcome, never an exception."""
        text = self._prompts(index)
        message = prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)
        request = analyzer_pb2.AnalyzePromptRequest(messages=[message])
        affinity = (("x-tinyroute-affinity", affinity_bucket(text)),)  # as the router sends it
        try:
            response = await self._stub.AnalyzePrompt(request, timeout=self._deadline, metadata=affinity)
        except grpc.aio.AioRpcError as error:
            return Reply(_OUTCOMES.get(error.code(), Outcome.FAILED))
        analysis = response.analysis
        source = analyzer_pb2.AnalysisSource.Name(analysis.source).removeprefix("ANALYSIS_SOURCE_").lower()
        return Reply(Outcome.ANSWERED, source, analysis.timings.batch_size, analysis.prompt_token_count)
