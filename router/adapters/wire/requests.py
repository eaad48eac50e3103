"""From a caller's message to the core's request."""

import secrets
import time
import uuid
from collections.abc import Callable, Iterable

from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2

from router.adapters.wire import enums
from router.request import (
    Attribution,
    Constraints,
    Criticality,
    Generation,
    Message,
    ResponseFormatType,
    Role,
    RouteRequest,
)

AnyRequest = router_pb2.RouteRequest | router_pb2.StreamRouteRequest | router_pb2.DecideRequest


def new_request_id(wall_clock: Callable[[], float] = time.time) -> str:
    """A UUID of version 7: later ones sort later, so a ledger's index grows at its end."""
    milliseconds = int(wall_clock() * 1000) & ((1 << 48) - 1)
    bits = milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=bits))


def route_request(wire: AnyRequest, tenant: str) -> RouteRequest:
    """The core's request of any of the three messages that carry a prompt; the request id is made when unset."""
    return RouteRequest(
        request_id=wire.request_id if wire.HasField("request_id") else new_request_id(),
        tenant=tenant,
        messages=messages_to_core(wire.messages),
        generation=generation_to_core(wire.generation),
        constraints=constraints_to_core(wire.constraints),
        attribution=Attribution(wire.attribution.team, wire.attribution.feature, dict(wire.attribution.labels)),
        criticality=enums.CRITICALITY.to_core(wire.criticality) or Criticality.STANDARD,
        session_id=wire.session_id,
        named_by_caller=wire.HasField("request_id"),
    )


def messages_to_core(wire: Iterable[prompt_pb2.Message]) -> tuple[Message, ...]:
    """The conversation. Validation has refused unknown roles before."""
    return tuple(Message(enums.ROLE.to_core(message.role) or Role.USER, message.content) for message in wire)


def messages_to_wire(messages: Iterable[Message]) -> list[prompt_pb2.Message]:
    """The conversation, as both services speak of it."""
    return [prompt_pb2.Message(role=enums.ROLE.to_wire(message.role), content=message.content) for message in messages]


def generation_to_core(wire: router_pb2.GenerationSettings) -> Generation:
    """How the answer is generated; unset stays None."""
    return Generation(
        max_output_tokens=wire.max_output_tokens if wire.HasField("max_output_tokens") else None,
        temperature=wire.temperature if wire.HasField("temperature") else None,
        top_p=wire.top_p if wire.HasField("top_p") else None,
        stop=tuple(wire.stop),
        seed=wire.seed if wire.HasField("seed") else None,
        response_format=enums.RESPONSE_FORMAT.to_core(wire.response_format.type) or ResponseFormatType.TEXT,
        json_schema=wire.response_format.json_schema,
    )


def constraints_to_core(wire: router_pb2.Constraints) -> Constraints:
    """What the caller demands; unset stays None."""
    return Constraints(
        min_tier=enums.TIER.to_core(wire.min_tier),
        max_tier=enums.TIER.to_core(wire.max_tier),
        max_cost_micros=wire.max_cost_micros if wire.HasField("max_cost_micros") else None,
        quality_target=wire.quality_target if wire.HasField("quality_target") else None,
        forbid_cloud_analysis=wire.forbid_cloud_analysis,
    )
