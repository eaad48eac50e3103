"""What the ledger keeps of a request: one row for it, one for each attempt. Never prompt or answer text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from router.answer import Attempt, AttemptOutcome, Usage
from router.request import Tier

FORMAT = 1


@dataclass(frozen=True)
class AttemptRecord:
    """The row of one call to a backend. Money in micro-dollars, None where the price is not known; times in seconds."""

    tier: int
    backend: str
    model: str
    outcome: str
    duration: float
    time_to_first_token: float | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_micros: int | None

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptRecord":
        """Returns the row of an attempt; no usage is no tokens."""
        usage = attempt.usage or Usage(0, 0)
        return cls(
            tier=int(attempt.tier),
            backend=attempt.backend,
            model=attempt.model,
            outcome=attempt.outcome.value,
            duration=attempt.duration,
            time_to_first_token=attempt.time_to_first_token,
            input_tokens=usage.input,
            output_tokens=usage.output,
            cached_tokens=usage.cached,
            reasoning_tokens=usage.reasoning,
            estimated=usage.estimated,
            cost_micros=attempt.cost_micros,
        )

    def as_attempt(self) -> Attempt:
        """Returns the attempt this is the row of."""
        usage = Usage(
            self.input_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens, estimated=self.estimated
        )
        return Attempt(
            tier=Tier(self.tier),
            backend=self.backend,
            model=self.model,
            outcome=AttemptOutcome(self.outcome),
            duration=self.duration,
            time_to_first_token=self.time_to_first_token,
            usage=usage,
            cost_micros=self.cost_micros,
        )


@dataclass(frozen=True)
class AnalysisRecord:
    """What refitting and replay need to know of the analysis; zeros and NONE when no rung answered."""

    source: str = "NONE"
    success: tuple[float, ...] = ()
    confidence: float = 0.0
    task: str = "UNSPECIFIED"
    revision: str = ""
    prompt_tokens: int = 0
    expected_output_tokens: int = 0
    cost_micros: int | None = 0
    skipped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class RequestRecord:
    """The row of one request with the rows of its attempts.

    `status` is OK, CANCELLED, or the code of the error the caller got, `reason` that error's. `tier` and `backend` are
    those that answered, None and empty when none did; `decided_tier` is the policy's choice. `time` is the end of the
    request, in UTC.
    """

    request_id: str
    tenant: str
    rpc: str
    time: str
    status: str
    reason: str = ""
    finish_reason: str = "UNSPECIFIED"
    team: str = ""
    feature: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    session_id: str = ""
    decided_tier: int | None = None
    tier: int | None = None
    backend: str = ""
    cause: str = "UNSPECIFIED"
    policy_revision: str = ""
    price_revision: str = ""
    cost_micros: int | None = 0
    top_tier_micros: int | None = None
    analysis: AnalysisRecord = AnalysisRecord()
    predicted_success: Mapping[str, float] = field(default_factory=dict)
    estimated_costs: Mapping[str, int | None] = field(default_factory=dict)
    timings: Mapping[str, float | None] = field(default_factory=dict)
    attempts: tuple[AttemptRecord, ...] = ()

    def to_json(self) -> str:
        """Returns the record as one line of JSON."""
        fields = {"format": FORMAT, **asdict(self)}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> "RequestRecord":
        """Returns the record of a line that `to_json` made; raises ValueError for any other line."""
        try:
            return _record(json.loads(line))
        except (AttributeError, KeyError, TypeError) as error:
            msg = f"not a ledger record: {error}"
            raise ValueError(msg) from error


def _record(fields: dict[str, Any]) -> RequestRecord:
    if (version := fields.pop("format")) != FORMAT:
        msg = f"ledger record of format {version}, expected {FORMAT}"
        raise ValueError(msg)
    analysis = fields.pop("analysis")
    return RequestRecord(
        **fields
        | {
            "analysis": AnalysisRecord(
                **analysis
                | {
                    "success": tuple(analysis["success"]),
                    "skipped": tuple((rung, reason) for rung, reason in analysis["skipped"]),
                }
            ),
            "attempts": tuple(AttemptRecord(**attempt) for attempt in fields["attempts"]),
        }
    )
