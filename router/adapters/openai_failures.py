"""Every way a call through the `openai` package ends badly, as one of the core's outcomes: the one table of it.

No text of a backend goes further than this file: error messages quote prompts and keys.
"""

import email.utils
import re
import time
from collections.abc import Callable, Mapping

import openai

from router.answer import AttemptOutcome, BackendFailed, Usage

BY_STATUS: Mapping[int, AttemptOutcome] = {
    400: AttemptOutcome.BAD_REQUEST,
    401: AttemptOutcome.UNAUTHENTICATED,
    402: AttemptOutcome.RATE_LIMITED,  # out of credit: as a quota that is used up
    403: AttemptOutcome.UNAUTHENTICATED,
    404: AttemptOutcome.BACKEND_ERROR,  # no such model or path: wrong configuration of this backend, not of the request
    408: AttemptOutcome.TIMEOUT,
    413: AttemptOutcome.CONTEXT_TOO_LONG,
    422: AttemptOutcome.BAD_REQUEST,
    429: AttemptOutcome.RATE_LIMITED,
    502: AttemptOutcome.UNAVAILABLE,
    503: AttemptOutcome.UNAVAILABLE,
    504: AttemptOutcome.UNAVAILABLE,
    529: AttemptOutcome.RATE_LIMITED,  # "overloaded", as some providers say it
}
"""A status that is not here, redirects included, is BACKEND_ERROR."""

CONTEXT_TOO_LONG = re.compile(
    r"context.{0,24}(length|window|size)|exceed_context|prompt is too long|too many tokens", re.IGNORECASE
)
CONTENT_FILTER = re.compile(r"content_?(filter|policy)|moderation|safety", re.IGNORECASE)
RATE_LIMIT = re.compile(r"rate_?limit|insufficient_quota|overloaded", re.IGNORECASE)
RETRY_AFTER_MAX_SECONDS = 3600.0


def backend_failed(error: Exception, *, started: bool, usage: Usage | None = None) -> BackendFailed:
    """The failure that `error` is; `started` once the answer had begun to arrive."""
    outcome = outcome_of(error, started=started)
    return BackendFailed(outcome, detail_of(error), retry_after_seconds=retry_after(error), usage=usage)


def outcome_of(error: Exception, *, started: bool) -> AttemptOutcome:
    """What became of the call."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return _of_timeout(error, started=started)
    if isinstance(error, openai.APIConnectionError | OSError):
        return AttemptOutcome.CUT_OFF if started else AttemptOutcome.UNAVAILABLE
    if started:  # an error inside the stream, or bytes that are no text
        return AttemptOutcome.CUT_OFF
    if isinstance(error, openai.APIError):
        return _of_body(error) or AttemptOutcome.BACKEND_ERROR
    return AttemptOutcome.BACKEND_ERROR


def _of_status(error: openai.APIStatusError) -> AttemptOutcome:
    """Providers disagree on the status of a prompt that is too long or filtered; the error's code tells."""
    if error.status_code in {400, 413, 422, 500}:
        told = _of_body(error)
        if told is not None:
            return told
    return BY_STATUS.get(error.status_code, AttemptOutcome.BACKEND_ERROR)


def _of_body(error: openai.APIError) -> AttemptOutcome | None:
    text = f"{error.code} {error.type} {error.message}"
    if CONTEXT_TOO_LONG.search(text):
        return AttemptOutcome.CONTEXT_TOO_LONG
    if CONTENT_FILTER.search(f"{error.code} {error.type}"):
        return AttemptOutcome.CONTENT_FILTERED
    if RATE_LIMIT.search(f"{error.code} {error.type}"):
        return AttemptOutcome.RATE_LIMITED
    return None


def _of_timeout(error: Exception, *, started: bool) -> AttemptOutcome:
    if started:
        return AttemptOutcome.CUT_OFF
    connecting = type(error.__cause__).__name__ in {"ConnectTimeout", "PoolTimeout"}
    return AttemptOutcome.UNAVAILABLE if connecting else AttemptOutcome.TIMEOUT


def detail_of(error: Exception) -> str:
    """The kind of error, for logs: a class name and a status, never text of the other side."""
    status = f" {error.status_code}" if isinstance(error, openai.APIStatusError) else ""
    return type(error).__name__ + status


def retry_after(error: Exception, wall_clock: Callable[[], float] = time.time) -> float | None:
    """Seconds the other side asked to wait, by retry-after-ms or Retry-After (a number or a date). None: it did not."""
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    milliseconds = _number(headers.get("retry-after-ms", ""))
    seconds = _number(headers.get("retry-after", ""))
    if milliseconds is not None:
        seconds = milliseconds / 1000
    if seconds is None:
        seconds = _until(headers.get("retry-after", ""), wall_clock())
    return None if seconds is None else min(max(0.0, seconds), RETRY_AFTER_MAX_SECONDS)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip()) else None


def _until(text: str, now: float) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - now
    except (TypeError, ValueError, OverflowError):
        return None
