"""What is remembered of requests that may come again: the call in flight, its answer for a while, its cost."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from router.answer import Answer
from router.request import RouteRequest
from servicekit.deadline import Clock

OVERHEAD_BYTES = 4096
"""What an answer takes beside its text, roughly."""


@dataclass(frozen=True)
class ReplyLimits:
    """How long a finished request is remembered, how many are, and how many bytes of answers are kept."""

    seconds: float = 600.0
    count_max: int = 100_000
    bytes_max: int = 64 * 1024 * 1024


@dataclass(eq=False)
class Reply:
    """One request: under way (`task`, or `streamed`), answered, or only its cost; None is a cost that is not known."""

    key: tuple[str, str]
    digest: bytes
    streamed: bool
    task: asyncio.Task[Answer] | None = None
    waiters: int = 0
    answer: Answer | None = None
    size: int = 0
    cost_micros: int | None = None
    ended_at: float | None = None


class Replies:
    """Remembers requests by tenant and request id, in memory, bounded. What is under way is never forgotten."""

    def __init__(self, limits: ReplyLimits | None = None, clock: Clock = time.monotonic) -> None:
        self._limits = limits or ReplyLimits()
        self._clock = clock
        self._under_way: dict[tuple[str, str], Reply] = {}
        self._ended: OrderedDict[tuple[str, str], Reply] = OrderedDict()
        self._bytes = 0

    def find(self, request: RouteRequest) -> Reply | None:
        """Returns what is known of an earlier call by this name."""
        self._drop_old()
        key = request.tenant, request.request_id
        return self._under_way.get(key) or self._ended.get(key)

    def begin(self, request: RouteRequest, *, streamed: bool = False) -> Reply:
        """Returns the reply of a call that begins; it has to be ended, or forgotten."""
        reply = Reply((request.tenant, request.request_id), body_digest(request), streamed)
        self._under_way[reply.key] = reply
        return reply

    def end(self, reply: Reply, cost_micros: int | None, answer: Answer | None = None) -> None:
        """Keeps the answer, or the cost alone."""
        if self._under_way.get(reply.key) is not reply:
            return
        del self._under_way[reply.key]
        reply.task, reply.cost_micros, reply.ended_at = None, cost_micros, self._clock()
        reply.answer, reply.size = answer, 0 if answer is None else len(answer.text.encode()) + OVERHEAD_BYTES
        self._ended[reply.key] = reply
        self._bytes += reply.size
        self._drop_old()

    def forget(self, reply: Reply) -> None:
        """Drops a call that came to nothing: the same request may be made again."""
        if self._under_way.get(reply.key) is reply:
            del self._under_way[reply.key]

    def _drop_old(self) -> None:
        oldest_allowed = self._clock() - self._limits.seconds
        while self._ended:
            reply = next(iter(self._ended.values()))
            if len(self._ended) <= self._limits.count_max and (reply.ended_at or 0.0) > oldest_allowed:
                break
            self._ended.popitem(last=False)
            self._bytes -= reply.size
        self._drop_answers()

    def _drop_answers(self) -> None:
        """Drops the oldest answers, not their costs, until the rest fits."""
        if self._bytes <= self._limits.bytes_max:
            return
        for reply in self._ended.values():
            self._bytes -= reply.size
            reply.answer, reply.size = None, 0
            if self._bytes <= self._limits.bytes_max:
                return

    def __repr__(self) -> str:
        return f"<Replies {len(self._under_way)} under way, {len(self._ended)} ended, {self._bytes} bytes of answers>"


def body_digest(request: RouteRequest) -> bytes:
    """Returns a digest of all that the caller asks for, but for the request's name."""
    digest = hashlib.blake2b(digest_size=16)
    for message in request.messages:
        content = message.content.encode("utf-8", "surrogatepass")
        digest.update(f"{message.role.value} {len(content)} ".encode())
        digest.update(content)
    attribution = request.attribution
    rest = (
        request.generation,
        request.constraints,
        attribution.team,
        attribution.feature,
        sorted(attribution.labels.items()),
        request.criticality,
        request.session_id,
    )
    digest.update(repr(rest).encode("utf-8", "surrogatepass"))
    return digest.digest()
