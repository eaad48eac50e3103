"""What a caller asks for, free of any transport."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum


class Role(Enum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str = field(repr=False)


class Tier(IntEnum):
    """A class of models of like ability and price; greater is stronger and dearer."""

    SMALL = 1
    MEDIUM = 2
    LARGE = 3


class Criticality(IntEnum):
    """What happens to a request under overload; the least is refused last."""

    CRITICAL = 1
    STANDARD = 2
    SHEDDABLE = 3


class ResponseFormatType(Enum):
    """The form of an answer."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True)
class Generation:
    """How an answer is generated; None leaves it to the backend."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: ResponseFormatType = ResponseFormatType.TEXT
    json_schema: str = ""


@dataclass(frozen=True)
class Constraints:
    """What a caller demands of the choice; None demands nothing."""

    min_tier: Tier | None = None
    max_tier: Tier | None = None
    max_cost_micros: int | None = None
    quality_target: float | None = None
    forbid_cloud_analysis: bool = False


@dataclass(frozen=True)
class Attribution:
    """What a cost is booked on, beside the tenant."""

    team: str = ""
    feature: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RouteRequest:
    """A prompt to be routed, of a tenant the transport has established.

    `named_by_caller` tells whether the request id is the caller's: only then can the same request come twice.
    """

    request_id: str
    tenant: str
    messages: tuple[Message, ...] = field(repr=False)
    generation: Generation = Generation()
    constraints: Constraints = Constraints()
    attribution: Attribution = Attribution()
    criticality: Criticality = Criticality.STANDARD
    session_id: str = ""
    bulk: bool = False
    """One of many that somebody waits for as a whole: its analysis shares passes with others and has more time."""
    named_by_caller: bool = True
