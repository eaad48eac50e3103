"""From expected errors to gRPC status, and from a received status back to its reason: the one table of both sides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from servicekit.errors import InvalidArgument, QuotaViolation, ResourceExhausted, ServiceError

DOMAIN = "tinyroute"
STATUS_DETAILS_KEY = "grpc-status-details-bin"

# Trailing metadata is limited to some 8 KiB on the way: a request wrong in a thousand places is told of these many.
_MOST_FIELDS_NAMED = 20
_MOST_DESCRIPTION_CHARACTERS = 200


def to_status(error: ServiceError) -> status_pb2.Status:
    """Returns the whole status: code, sentence, ErrorInfo always, and the details that the kind of error calls for."""
    code, _ = status_code(error).value
    return status_pb2.Status(code=code, message=error.message, details=[_packed(detail) for detail in _details(error)])


def status_code(error: ServiceError) -> grpc.StatusCode:
    """Returns the canonical code of an error."""
    return grpc.StatusCode[error.code]


def trailing_metadata(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """Returns the metadata by which a status with details travels beside the plain code and sentence."""
    return ((STATUS_DETAILS_KEY, status.SerializeToString()),)


def received_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Returns the status a server sent; its details are empty when it sent none or unreadable ones."""
    code, _ = error.code().value
    status = status_pb2.Status(code=code, message=error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                status.details.extend(status_pb2.Status.FromString(value).details)
            except DecodeError:
                return status
    return status


def received_reason(error: grpc.aio.AioRpcError) -> str | None:
    """Returns the `reason` of a received error (UPPER_SNAKE_CASE); None when the far side is not one of ours."""
    for detail in received_status(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return str(info.reason)
    return None


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _details(error: ServiceError) -> Iterable[Message]:
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if isinstance(error, ResourceExhausted) and error.quota is not None:
        info.metadata.update(_quota_facts(error.quota))
    yield info
    if isinstance(error, InvalidArgument) and error.fields:
        yield _bad_request(error)
    if isinstance(error, ResourceExhausted):
        yield from _exhaustion_details(error)


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    named = error.fields[:_MOST_FIELDS_NAMED]
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=each.field, description=each.description[:_MOST_DESCRIPTION_CHARACTERS]
            )
            for each in named
        ]
    )


def _exhaustion_details(error: ResourceExhausted) -> Iterable[Message]:
    if error.retry_after_seconds is not None:
        yield error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_seconds))
    if error.quota is not None:
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=error.quota.subject, description=_quota_sentence(error.quota)
        )
        yield error_details_pb2.QuotaFailure(violations=[violation])


def _quota_sentence(quota: QuotaViolation) -> str:
    spent, limit = _dollars(quota.spent_micros), _dollars(quota.limit_micros)
    return f"spent {spent} of {limit}; resets in {quota.reset_seconds:.0f} s"


def _quota_facts(quota: QuotaViolation) -> dict[str, str]:
    return {
        "subject": quota.subject,
        "spent_micros": str(quota.spent_micros),
        "limit_micros": str(quota.limit_micros),
        "reset_seconds": f"{quota.reset_seconds:.0f}",
    }


def _dollars(micros: int) -> str:
    return f"{micros / 1_000_000:.6f} USD"


def _duration(seconds: float) -> Any:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(max(0.0, seconds) * 1e9))
    return duration
