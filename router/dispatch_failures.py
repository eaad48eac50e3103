"""What a caller is told when no backend gave an answer."""

from collections.abc import Mapping, Sequence

from router.answer import Attempt, AttemptOutcome
from router.attempt import Trial
from servicekit.deadline import Deadline
from servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)

REFUSALS: Mapping[AttemptOutcome, tuple[str, str]] = {
    AttemptOutcome.BAD_REQUEST: ("REFUSED_BY_BACKEND", "The backend {backend} calls the request invalid."),
    AttemptOutcome.CONTENT_FILTERED: ("CONTENT_FILTERED", "The backend {backend} filters the prompt out."),
}
"""Outcomes that would be the same everywhere."""


def failure(trials: Sequence[Trial], deadline: Deadline) -> ServiceError:
    """Returns the error that says why there is no answer."""
    attempts = [trial.result for trial in trials if trial.result is not None]
    outcomes = {attempt.outcome for attempt in attempts}
    if not attempts:
        return _not_tried(deadline)
    last = attempts[-1]
    if last.outcome in REFUSALS:
        reason, sentence = REFUSALS[last.outcome]
        return InvalidArgument(reason, sentence.format(backend=last.backend))
    if deadline.expired():
        return DeadlineExceeded("NO_ANSWER_IN_TIME", f"No backend answered in time: {_told(attempts)}.")
    if outcomes == {AttemptOutcome.CONTEXT_TOO_LONG}:
        return FailedPrecondition("CONTEXT_TOO_LONG", "The prompt is too long for every allowed backend.")
    if outcomes == {AttemptOutcome.RATE_LIMITED}:
        waits = [trial.retry_after_seconds or 1.0 for trial in trials]
        return ResourceExhausted(
            "BACKENDS_RATE_LIMITED", "Every allowed backend asks to come again later.", retry_after_seconds=min(waits)
        )
    return Unavailable("BACKENDS_FAILED", f"Every allowed backend failed: {_told(attempts)}.")


def _not_tried(deadline: Deadline) -> ServiceError:
    if deadline.expired():
        return DeadlineExceeded("NO_TIME_LEFT", "The time ran out before a backend could be asked.")
    return Unavailable("NO_BACKEND", "No allowed backend takes calls, or the budget does not pay for any that does.")


def _told(attempts: Sequence[Attempt]) -> str:
    return ", ".join(f"{attempt.backend} {attempt.outcome.value.lower().replace('_', ' ')}" for attempt in attempts)
