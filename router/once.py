"""A request that comes twice is answered once: a repeat joins the call in flight, or gets its kept answer."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from router.answer import Answer, Preview
from router.replies import Replies, Reply, body_digest
from router.request import RouteRequest
from router.routing import Event
from servicekit.deadline import Deadline
from servicekit.errors import AlreadyExists, DeadlineExceeded

log = logging.getLogger(__name__)


class Routing(Protocol):
    """What a router does; see `router.routing.Router`."""

    async def route(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """Returns the answer."""
        ...

    def stream(self, request: RouteRequest, deadline: Deadline) -> AsyncGenerator[Event, None]:
        """Yields the decision, pieces of text, the answer."""
        ...

    async def decide(self, request: RouteRequest, deadline: Deadline) -> Preview:
        """Returns the decision alone."""
        ...


@dataclass(frozen=True)
class FirstCall:
    """What the ledger knows of an earlier request: its cost in micro-dollars, None when not known."""

    cost_micros: int | None


class Earlier(Protocol):
    """Looks requests up that another router, or this one before a restart, has answered."""

    async def __call__(self, tenant: str, request_id: str) -> FirstCall | None:
        """Returns what is known of the request; None when there was none."""
        ...


@dataclass(frozen=True)
class OnceRouter:
    """A router that answers a request once, by tenant and request id. Requests not named by callers pass through."""

    router: Routing
    replies: Replies
    earlier: Earlier | None = None

    async def route(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """Returns the answer, its own or the first call's; raises AlreadyExists when that can't be given."""
        if not request.named_by_caller:
            return await self.router.route(request, deadline)
        reply = self.replies.find(request)
        if reply is None:
            return await self._wait(self._begin(request, deadline))
        if reply.digest != body_digest(request):
            raise AlreadyExists("REQUEST_ID_REUSED", f"The request id was used with another body. {told(reply)}")
        if reply.answer is not None:
            return reply.answer
        if reply.task is None:
            raise AlreadyExists(
                "ANSWER_NOT_KEPT", f"The request was made before, and its answer is not kept. {told(reply)}"
            )
        return await self._join(reply, deadline)

    async def stream(self, request: RouteRequest, deadline: Deadline) -> AsyncGenerator[Event, None]:
        """Yields as the router does; raises AlreadyExists for any repeat. Close it as the router's."""
        reply = self._claim(request) if request.named_by_caller else None
        begun, cost_micros = False, None
        try:
            if reply is not None:
                await self._look_up(request)
            async with aclosing(self.router.stream(request, deadline)) as events:
                async for event in events:
                    begun = True
                    cost_micros = event.cost.total_micros if isinstance(event, Answer) else None
                    yield event
        finally:
            if reply is not None and begun:
                self.replies.end(reply, cost_micros)
            elif reply is not None:
                self.replies.forget(reply)

    async def decide(self, request: RouteRequest, deadline: Deadline) -> Preview:
        """Returns as the router does: a decision is as good the second time."""
        return await self.router.decide(request, deadline)

    def _claim(self, request: RouteRequest) -> Reply:
        reply = self.replies.find(request)
        if reply is not None:
            raise AlreadyExists("REQUEST_ID_REUSED", f"The request id was used before. {told(reply)}")
        return self.replies.begin(request, streamed=True)

    def _begin(self, request: RouteRequest, deadline: Deadline) -> Reply:
        """Returns the reply of a call that runs in a task of its own: it outlives this caller if another one joins."""
        reply = self.replies.begin(request)
        reply.task = asyncio.create_task(self._first(request, deadline))
        reply.task.add_done_callback(lambda task: self._end(reply, task))
        return reply

    async def _first(self, request: RouteRequest, deadline: Deadline) -> Answer:
        await self._look_up(request)
        return await self.router.route(request, deadline)

    async def _look_up(self, request: RouteRequest) -> None:
        """Raises AlreadyExists when the ledger knows the request. A ledger that can't be read stops nobody."""
        if self.earlier is None:
            return
        try:
            first = await self.earlier(request.tenant, request.request_id)
        except Exception:  # the store is down: requests go on
            log.exception("earlier requests could not be looked up")
            return
        if first is not None:
            raise AlreadyExists("ANSWER_NOT_KEPT", f"The request was made before. {cost_told(first.cost_micros)}")

    def _end(self, reply: Reply, task: asyncio.Task[Answer]) -> None:
        if task.cancelled() or task.exception() is not None:
            self.replies.forget(reply)
        else:
            answer = task.result()
            self.replies.end(reply, answer.cost.total_micros, answer)

    async def _join(self, reply: Reply, deadline: Deadline) -> Answer:
        """Waits for another caller's call, no longer than the own deadline."""
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._wait(reply)
        except TimeoutError:
            raise DeadlineExceeded("NO_ANSWER_IN_TIME", "The first call of this request is still under way.") from None

    async def _wait(self, reply: Reply) -> Answer:
        """Returns the call's answer. The last one to stop waiting cancels it."""
        task = reply.task
        if task is None:
            raise AssertionError("only a call under way is waited for")
        reply.waiters += 1
        try:
            return await asyncio.shield(task)
        finally:
            reply.waiters -= 1
            if reply.waiters == 0 and not task.done():
                self.replies.forget(reply)
                task.cancel()
                await asyncio.wait({task})


def told(reply: Reply) -> str:
    """Returns what the first call cost, as a sentence."""
    return "It is still under way." if reply.ended_at is None else cost_told(reply.cost_micros)


def cost_told(micros: int | None) -> str:
    """Returns a cost as a sentence."""
    return "What it cost is not known." if micros is None else f"It cost {micros} micro-dollars."
