"""What every call brings beside its message: who asks, and until when."""

import json
from typing import Any

from tinyroute.router.v1 import router_pb2

from router.adapters.wire.requests import AnyRequest, route_request
from router.request import RouteRequest
from servicekit.deadline import Deadline
from servicekit.errors import FieldViolation
from servicekit.prompts import check_prompt
from servicekit.validation import invalid_fields

LOCAL_TENANT = "local"
"""Who asks where no credentials are asked for. What a caller says of itself counts for nothing."""

LONGEST_DEADLINE_SECONDS = 3600.0


def tenant_of(context: Any) -> str:  # noqa: ARG001 - credentials will be read from it
    """The tenant that the credential names."""
    return LOCAL_TENANT


def deadline_of(context: Any, default_seconds: float) -> Deadline:
    """The caller's deadline as a point in time; the default when there is none. Huge ones are cut."""
    remaining = context.time_remaining()
    return Deadline.after(min(default_seconds if remaining is None else remaining, LONGEST_DEADLINE_SECONDS))


def checked(message: AnyRequest, tenant: str) -> RouteRequest:
    """The core's request. Raises InvalidArgument for what rules on single fields can't express."""
    check_prompt(message.messages)
    check_response_format(message.generation.response_format)
    return route_request(message, tenant)


def check_response_format(wanted: router_pb2.ResponseFormat) -> None:
    """Raises InvalidArgument unless a schema is there exactly when it is asked for, and is JSON."""
    field = "generation.response_format.json_schema"
    if wanted.type != router_pb2.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
        if wanted.json_schema:
            raise invalid_fields([FieldViolation(field, "only goes with RESPONSE_FORMAT_TYPE_JSON_SCHEMA")])
        return
    try:
        schema = json.loads(wanted.json_schema)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise invalid_fields([FieldViolation(field, "must be a JSON object")])
