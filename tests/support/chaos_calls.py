"""Route as a load generator's call, with what each answer tells of its way."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from analyzer.bench.load import Outcome, Reply
from tests.support.decisions import SELF_HOSTED, source_of, user_message

TYPED = frozenset({"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "FAILED_PRECONDITION"})
"""What a caller may be told by a system under faults."""


@dataclass(frozen=True)
class Told:
    """One call: when it was made (monotonic), how long it took, how it ended and by what way."""

    at: float
    seconds: float
    code: str
    criticality: str = "STANDARD"
    source: str = ""
    tier: str = ""
    cause: str = ""
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.code == "OK"

    @property
    def self_hosted(self) -> bool:
        """Whether an analyzer of ours made the decision."""
        return self.source in SELF_HOSTED


@dataclass
class Caller:
    """Makes calls over one channel and remembers them all."""

    channel: grpc.aio.Channel
    prompts: Callable[[int], str]
    deadline_seconds: float = 10.0
    criticality: Callable[[int], str] = lambda _: "STANDARD"
    dispatched: bool = True
    told: list[Told] = field(default_factory=list)

    async def __call__(self, number: int) -> Reply:
        """One call; give this to a load generator."""
        began = time.monotonic()
        criticality = self.criticality(number)
        try:
            decision = await self._decision(number, criticality)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            self.told.append(Told(began, time.monotonic() - began, code, criticality))
            return Reply(Outcome.REFUSED if code == "RESOURCE_EXHAUSTED" else Outcome.FAILED, code)
        told = Told(began, time.monotonic() - began, "OK", criticality, **told_by(decision))
        self.told.append(told)
        return Reply(Outcome.ANSWERED, told.source)

    async def _decision(self, number: int, criticality: str) -> router_pb2.Decision:
        stub = router_pb2_grpc.RouterServiceStub(self.channel)
        fields = {"messages": user_message(self.prompts(number)), "criticality": f"CRITICALITY_{criticality}"}
        if self.dispatched:
            answer = await stub.Route(router_pb2.RouteRequest(**fields), timeout=self.deadline_seconds)
        else:
            answer = await stub.Decide(router_pb2.DecideRequest(**fields), timeout=self.deadline_seconds)
        decision: router_pb2.Decision = answer.decision
        return decision


def told_by(decision: router_pb2.Decision) -> dict[str, object]:
    """What a decision says of its way."""
    return {
        "source": source_of(decision),
        "tier": router_pb2.Tier.Name(decision.tier).removeprefix("TIER_"),
        "cause": router_pb2.Cause.Name(decision.cause).removeprefix("CAUSE_"),
        "skipped": tuple(
            (
                router_pb2.Rung.Name(skip.rung).removeprefix("RUNG_"),
                router_pb2.SkipReason.Name(skip.reason).removeprefix("SKIP_REASON_"),
            )
            for skip in decision.skipped_rungs
        ),
    }


def self_hosted_share(told: Iterable[Told]) -> float:
    """The first service-level indicator: which share of the answers an analyzer of ours stands behind."""
    answered = [each for each in told if each.answered]
    return sum(each.self_hosted for each in answered) / len(answered) if answered else 0.0


def failures(told: Iterable[Told]) -> Counter[str]:
    """Calls without an answer, by status."""
    return Counter(each.code for each in told if not each.answered)


def unexplained(told: Iterable[Told]) -> list[Told]:
    """Answers that don't say why the self-hosted rung did not make the decision."""
    return [each for each in told if each.answered and not each.self_hosted and not each.skipped]
