"""The self-hosted rung for prompts of a batch: they share calls, wait behind single ones, and have more time."""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
from google.rpc import status_pb2
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc

from router.adapters.analyzer_rung import (
    AFFINITY_KEY,
    REASONS,
    TENANT_KEY,
    AnalyzerRung,
    Bucket,
    Headers,
    rung_failed,
)
from router.adapters.wire.analyses import MalformedAnalysis, analysis
from router.adapters.wire.requests import messages_to_wire
from router.analysis import Analysis, Rung, RungFailed, SkipReason
from router.request import RouteRequest
from servicekit.deadline import Deadline

MOST_PROMPTS = 64
WINDOW_SECONDS = 0.005
PARTS = 4
"""Prompts of one part go to one replica: near-duplicates meet there, and a batch is spread over up to so many."""

Outcome = Analysis | RungFailed


@dataclass
class Group:
    """Prompts that wait for the same call."""

    tenant: str
    affinity: str
    requests: list[RouteRequest] = field(default_factory=list)
    outcomes: list[asyncio.Future[Outcome]] = field(default_factory=list)
    until: Deadline | None = None


class BulkRung:
    """Hands single prompts to `single`, and those of a batch, gathered for a moment, to BatchAnalyzePrompts."""

    name = Rung.SELF_HOSTED

    def __init__(self, single: AnalyzerRung, channel: grpc.aio.Channel, bucket: Bucket, headers: Headers) -> None:
        self._single = single
        self._stub = analyzer_pb2_grpc.AnalyzerServiceStub(channel)
        self._bucket = bucket
        self._headers = headers
        self._gathering: dict[tuple[str, str], Group] = {}
        self._calls: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        waiting = sum(len(group.requests) for group in self._gathering.values())
        return f"BulkRung({waiting} gathered, {len(self._calls)} calls, {self._single!r})"

    async def analyze(self, request: RouteRequest, deadline: Deadline) -> Analysis:
        """The analysis. Raises RungFailed."""
        if not request.bulk:
            return await self._single.analyze(request, deadline)
        outcome = await self._join(request, deadline)
        if isinstance(outcome, RungFailed):
            raise outcome
        return outcome

    def _join(self, request: RouteRequest, deadline: Deadline) -> asyncio.Future[Outcome]:
        part = zlib.crc32(self._bucket(request.messages).encode()) % PARTS
        key = request.tenant, f"bulk-{part}"
        group = self._gathering.get(key)
        if group is None:
            group = self._gathering[key] = Group(*key)
            call = asyncio.create_task(self._gather_and_ask(key, group))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        group.requests.append(request)
        group.outcomes.append(outcome)
        if group.until is None or deadline.at > group.until.at:
            group.until = deadline
        if len(group.requests) == MOST_PROMPTS:
            del self._gathering[key]  # full: whoever comes now begins the next one
        return outcome

    async def _gather_and_ask(self, key: tuple[str, str], group: Group) -> None:
        await asyncio.sleep(WINDOW_SECONDS)
        if self._gathering.get(key) is group:
            del self._gathering[key]
        found = await self._ask(group)
        for outcome, each in zip(group.outcomes, found, strict=True):
            if not outcome.done():
                outcome.set_result(each)

    async def _ask(self, group: Group) -> Sequence[Outcome]:
        """Returns an outcome a prompt, whatever happens."""
        items = [
            analyzer_pb2.AnalyzePromptRequest(messages=messages_to_wire(request.messages)) for request in group.requests
        ]
        metadata = {TENANT_KEY: group.tenant, AFFINITY_KEY: group.affinity, **self._headers()}
        seconds = group.until.remaining() if group.until else 0.0
        try:
            response = await self._stub.BatchAnalyzePrompts(
                analyzer_pb2.BatchAnalyzePromptsRequest(requests=items),
                timeout=seconds,
                metadata=tuple(metadata.items()),
            )
        except grpc.aio.AioRpcError as error:
            return [rung_failed(error)] * len(items)
        if len(response.results) != len(items):
            return [RungFailed(SkipReason.UNDECIDED)] * len(items)
        return [_outcome(result) for result in response.results]


def _outcome(result: analyzer_pb2.BatchAnalyzeResult) -> Outcome:
    if result.WhichOneof("result") != "analysis":
        return RungFailed(_reason(result.error))
    try:
        return analysis(result.analysis)
    except MalformedAnalysis:
        return RungFailed(SkipReason.UNDECIDED)


def _reason(status: status_pb2.Status) -> SkipReason:
    codes = {code.value[0]: reason for code, reason in REASONS.items()}
    return codes.get(status.code, SkipReason.UNDECIDED)
