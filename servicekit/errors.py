"""Errors that a caller is meant to see, free of any transport.

Core code raises them; `servicekit.status` turns each into one gRPC status. An error that is none of these is a bug and
reaches the caller as INTERNAL with no text of its own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that is wrong, by its path in the message, and why."""

    field: str
    description: str


@dataclass(frozen=True)
class QuotaViolation:
    """A budget that is spent: amounts in micro-dollars, reset in seconds from now."""

    subject: str
    spent_micros: int
    limit_micros: int
    reset_seconds: float


class ServiceError(Exception):
    """Base of all expected errors: `reason` (UPPER_SNAKE_CASE) for programs, `message` (one sentence) for people."""

    code = "UNKNOWN"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason}: {self.message})"


class InvalidArgument(ServiceError):
    """The request is wrong; the same request will never do."""

    code = "INVALID_ARGUMENT"

    def __init__(self, reason: str, message: str, fields: tuple[FieldViolation, ...] = ()) -> None:
        super().__init__(reason, message)
        self.fields = fields


class ResourceExhausted(ServiceError):
    """There is no room (`retry_after_seconds` set) or no money (`quota` set) for the request now."""

    code = "RESOURCE_EXHAUSTED"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        quota: QuotaViolation | None = None,
    ) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds
        self.quota = quota


class DeadlineExceeded(ServiceError):
    """The caller's time ran out."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(ServiceError):
    """What the request needs can't be reached at this moment."""

    code = "UNAVAILABLE"


class NotFound(ServiceError):
    """What the request names does not exist for this tenant."""

    code = "NOT_FOUND"


class AlreadyExists(ServiceError):
    """The request's name is taken by another request."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    """The system's state, not the request, stands in the way."""

    code = "FAILED_PRECONDITION"


class Unauthenticated(ServiceError):
    """The caller did not say, or could not prove, who they are."""

    code = "UNAUTHENTICATED"


class PermissionDenied(ServiceError):
    """The caller may not do this."""

    code = "PERMISSION_DENIED"


class Unimplemented(ServiceError):
    """This version can't do it yet."""

    code = "UNIMPLEMENTED"


class Internal(ServiceError):
    """The service failed on this request."""

    code = "INTERNAL"
