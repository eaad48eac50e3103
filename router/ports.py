"""What the core needs from outside; adapters and fakes provide it."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Protocol

from router.analysis import Analysis, Rung
from router.answer import Chunk
from router.records import RequestRecord
from router.request import Message, RouteRequest, Tier
from servicekit.deadline import Deadline

WallClock = Callable[[], datetime]
"""Tells the date, in UTC, for prices and ledger rows; it never measures an interval."""

Random = Callable[[], float]
"""Draws from 0 (included) to 1 (excluded)."""


class AnalysisRung(Protocol):
    """Something that can say how hard a prompt is."""

    @property
    def name(self) -> Rung:
        """Returns its place in the cascade."""
        ...

    async def analyze(self, request: RouteRequest, deadline: Deadline) -> Analysis:
        """Returns an analysis before `deadline`; raises RungFailed when there is none to give.

        It is cancelled when the deadline passes or the caller goes away, and ends its own calls then.
        """
        ...


class Backend(Protocol):
    """One endpoint with one model, in one tier."""

    @property
    def name(self) -> str:
        """Returns its name in the configuration, unique in the router."""
        ...

    @property
    def tier(self) -> Tier:
        """Returns the tier it answers for."""
        ...

    @property
    def model(self) -> str:
        """Returns the model as the endpoint and the price book name it."""
        ...

    @property
    def weight(self) -> float:
        """Returns its share of the tier's requests, relative to its siblings; above 0."""
        ...

    @property
    def context_window(self) -> int:
        """Returns how many tokens prompt and answer may have in sum."""
        ...

    @property
    def max_output_tokens(self) -> int:
        """Returns how long an answer may get when the caller does not say."""
        ...

    def stream(self, request: RouteRequest, max_output_tokens: int, deadline: Deadline) -> AsyncIterator[Chunk]:
        """Yields the answer in pieces, as an async generator.

        Raises BackendFailed when no answer comes or it breaks off. Closing or cancelling the generator ends the call to
        the endpoint.
        """
        ...


class Ledger(Protocol):
    """Keeps what requests cost."""

    def append(self, record: RequestRecord) -> None:
        """Keeps the record where it outlives the process, in one write. May raise; the request goes on then."""
        ...


class TokenEstimator(Protocol):
    """Counts tokens where nobody who knows has told."""

    def prompt(self, messages: Sequence[Message]) -> int:
        """Returns about how many tokens a conversation has."""
        ...

    def text(self, text: str) -> int:
        """Returns about how many tokens a text has."""
        ...
