"""Decide as a load generator's call, with where each analysis came from."""

from dataclasses import dataclass, field

import grpc
from google.protobuf.duration_pb2 import Duration
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from analyzer.bench.load import Outcome, Reply

SELF_HOSTED = frozenset({"MODEL", "CACHE_EXACT", "CACHE_SIMILAR", "COALESCED"})


def user_message(text: str) -> list[prompt_pb2.Message]:
    """A prompt of one message."""
    return [prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)]


def source_of(decision: router_pb2.Decision) -> str:
    """Where an analysis comes from, without the prefix."""
    return router_pb2.AnalysisSource.Name(decision.analysis_source).removeprefix("ANALYSIS_SOURCE_")


def milliseconds(duration: Duration) -> float:
    """A length of time."""
    return duration.ToTimedelta().total_seconds() * 1e3


@dataclass
class Decider:
    """Makes decisions over one channel and notes, in ms, what the router took for itself: all but the analysis."""

    channel: grpc.aio.Channel
    deadline_seconds: float = 20.0
    criticality: router_pb2.Criticality.ValueType = router_pb2.CRITICALITY_UNSPECIFIED
    own_ms: list[float] = field(default_factory=list)

    async def decide(self, text: str) -> Reply:
        """Makes one decision."""
        request = router_pb2.DecideRequest(messages=user_message(text), criticality=self.criticality)
        stub = router_pb2_grpc.RouterServiceStub(self.channel)
        try:
            answer = await stub.Decide(request, timeout=self.deadline_seconds)
        except grpc.aio.AioRpcError as error:
            refused = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            return Reply(Outcome.REFUSED if refused else Outcome.FAILED, error.code().name)
        self.own_ms.append(milliseconds(answer.timings.total) - milliseconds(answer.timings.analysis))
        return Reply(Outcome.ANSWERED, source_of(answer.decision))
