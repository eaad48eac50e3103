"""Between the domain's types and the generated ones."""

from __future__ import annotations

from google.protobuf import duration_pb2
from tinyroute.analyzer.v1 import analyzer_pb2
from tinyroute.prompt.v1 import prompt_pb2

from analyzer.analysis import Ability, Task
from analyzer.analyzing import Finding
from analyzer.conversation import Message, Prompt
from analyzer.jobs import Lane
from analyzer.observing import Interval, Source
from servicekit.deadline import Deadline

_ROLES = {
    prompt_pb2.ROLE_SYSTEM: "system",
    prompt_pb2.ROLE_USER: "user",
    prompt_pb2.ROLE_ASSISTANT: "assistant",
}
_ABILITIES = {
    Ability.SMALL: analyzer_pb2.ABILITY_SMALL,
    Ability.MEDIUM: analyzer_pb2.ABILITY_MEDIUM,
    Ability.FRONTIER: analyzer_pb2.ABILITY_FRONTIER,
}
_TASKS = {task: prompt_pb2.Task.Value(f"TASK_{task.name}") for task in Task}
_SOURCES = {
    Source.MODEL: analyzer_pb2.ANALYSIS_SOURCE_MODEL,
    Source.CACHE_EXACT: analyzer_pb2.ANALYSIS_SOURCE_CACHE_EXACT,
    Source.CACHE_SIMILAR: analyzer_pb2.ANALYSIS_SOURCE_CACHE_SIMILAR,
    Source.COALESCED: analyzer_pb2.ANALYSIS_SOURCE_COALESCED,
}


def prompt(request: analyzer_pb2.AnalyzePromptRequest, tenant: str, deadline: Deadline, lane: Lane) -> Prompt:
    """Returns a valid request as a prompt."""
    messages = tuple(Message(_ROLES[each.role], each.content) for each in request.messages)
    return Prompt(messages, tenant, deadline, request.bypass_cache, lane)


def analysis(finding: Finding) -> analyzer_pb2.Analysis:
    """Returns what was found as the contract has it."""
    found = finding.analysis
    return analyzer_pb2.Analysis(
        success=[
            analyzer_pb2.AbilitySuccess(ability=_ABILITIES[ability], probability=found.success[ability])
            for ability in Ability
        ],
        complexity=found.complexity,
        expected_gain=found.expected_gain,
        confidence=found.confidence,
        task=_TASKS[found.task] if found.task_probabilities else prompt_pb2.TASK_UNSPECIFIED,
        task_probabilities=[
            analyzer_pb2.TaskProbability(task=_TASKS[task], probability=probability)
            for task, probability in found.task_probabilities.items()
        ],
        expected_output_tokens=found.expected_output_tokens,
        prompt_token_count=found.prompt_token_count,
        truncated=found.truncated,
        source=_SOURCES[finding.source],
        similarity=finding.similarity,
        model_revision=finding.revision,
        timings=_timings(finding),
    )


def _timings(finding: Finding) -> analyzer_pb2.AnalysisTimings:
    scored = finding.scored
    return analyzer_pb2.AnalysisTimings(
        queue=_duration(scored.queue) if scored else None,
        tokenize=_duration(finding.tokenize) if finding.tokenize else None,
        forward=_duration(scored.forward) if scored else None,
        batch_size=scored.batch_size if scored else 0,
    )


def _duration(interval: Interval) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(max(0, round(interval.seconds * 1e9)))
    return duration
