"""A router whose answers are considered for a shadow comparison, once they are on their way to the caller."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from router.answer import Answer, Preview
from router.learning.shadowing import Arm, Shadows
from router.once import Routing
from router.request import RouteRequest
from router.routing import Event
from servicekit.deadline import Deadline


@dataclass(frozen=True)
class ShadowedRouter:
    """As the router within; nothing of what shadows do reaches a caller."""

    router: Routing
    shadows: Shadows
    arm: Arm

    async def route(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """Returns the answer."""
        answer = await self.router.route(request, deadline)
        self.shadows.consider(request, answer, self.arm)
        return answer

    async def stream(self, request: RouteRequest, deadline: Deadline) -> AsyncGenerator[Event, None]:
        """Yields the decision, the text in pieces, the answer. Close it as the router's."""
        async with aclosing(self.router.stream(request, deadline)) as events:
            async for event in events:
                if isinstance(event, Answer):
                    self.shadows.consider(request, event, self.arm)
                yield event

    async def decide(self, request: RouteRequest, deadline: Deadline) -> Preview:
        """Returns the decision alone."""
        return await self.router.decide(request, deadline)
