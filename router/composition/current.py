"""The router of the configuration in force."""

from collections.abc import AsyncGenerator

from router.answer import Answer, Preview
from router.composition.assembly import Built
from router.decision import Decision
from router.request import RouteRequest
from servicekit.deadline import Deadline


class Current:
    """Stands in front of the router that is built last. A request keeps to the one it began with."""

    def __init__(self, built: Built) -> None:
        self.built = built

    async def route(self, request: RouteRequest, deadline: Deadline) -> Answer:
        """As the router does."""
        return await self.built.router.route(request, deadline)

    def stream(self, request: RouteRequest, deadline: Deadline) -> AsyncGenerator[Decision | str | Answer, None]:
        """As the router does."""
        return self.built.router.stream(request, deadline)

    async def decide(self, request: RouteRequest, deadline: Deadline) -> Preview:
        """As the router does."""
        return await self.built.router.decide(request, deadline)
