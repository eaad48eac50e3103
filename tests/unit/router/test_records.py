"""A ledger record goes through a line of JSON and comes out the same; other lines are refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.answer import Attempt, AttemptOutcome, Usage
from router.records import AnalysisRecord, AttemptRecord, RequestRecord
from router.request import Tier

ATTEMPT = Attempt(
    tier=Tier.MEDIUM,
    backend="medium-1",
    model="m",
    outcome=AttemptOutcome.CUT_OFF,
    duration=1.5,
    time_to_first_token=0.25,
    usage=Usage(10, 20, cached=5, reasoning=3, estimated=True),
    cost_micros=None,
)
RECORD = RequestRecord(
    request_id="r-1",
    tenant="acme",
    rpc="Route",
    time="2026-05-04T12:00:00+00:00",
    status="OK",
    labels={"env": "test"},
    tier=2,
    cost_micros=None,
    analysis=AnalysisRecord(success=(0.1, 0.2, 0.3), skipped=(("SELF_HOSTED", "TIMEOUT"),)),
    predicted_success={"SMALL": 0.5},
    timings={"total": 1.0, "plan": None},
    attempts=(AttemptRecord.of(ATTEMPT),),
)


def test_a_record_survives_json() -> None:
    """On one line."""
    line = RECORD.to_json()
    assert "\n" not in line
    assert RequestRecord.from_json(line) == RECORD
    assert RequestRecord.from_json(line.encode()) == RECORD


def test_an_attempt_survives_its_row() -> None:
    """What never had tokens comes back with none."""
    assert AttemptRecord.of(ATTEMPT).as_attempt() == ATTEMPT
    assert AttemptRecord.of(replace(ATTEMPT, usage=None)).as_attempt().usage == Usage(0, 0)


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_text_survives(text: str, labels: dict[str, str]) -> None:
    """Line breaks are escaped."""
    record = replace(RECORD, team=text, labels=labels)
    assert "\n" not in record.to_json()
    assert RequestRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        "null",
        "{",
        RECORD.to_json()[:-20],
        json.dumps(json.loads(RECORD.to_json()) | {"format": 2}),
        json.dumps(json.loads(RECORD.to_json()) | {"surprise": 1}),
        json.dumps(json.loads(RECORD.to_json()) | {"attempts": [{}]}),
    ],
)
def test_any_other_line_is_refused(line: str) -> None:
    """With one kind of error."""
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one too
        RequestRecord.from_json(line)
