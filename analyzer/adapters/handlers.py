"""AnalyzerService on the wire."""

from __future__ import annotations

from typing import Any

from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc

from analyzer.adapters import wire
from analyzer.analyzing import Finding, PromptAnalyzer
from analyzer.conversation import Prompt
from analyzer.jobs import Lane
from analyzer.settings import Limits
from servicekit.deadline import Deadline
from servicekit.errors import FieldViolation, ServiceError
from servicekit.prompts import check_prompt
from servicekit.status import to_status
from servicekit.validation import MessageValidator, invalid_fields

SERVICE = "tinyroute.analyzer.v1.AnalyzerService"
TENANT_KEY = "x-tinyroute-tenant"
LOCAL_TENANT = "local"

ITEMWISE = {f"/{SERVICE}/BatchAnalyzePrompts": "requests"}
"""An invalid prompt of a batch fails alone, so its own rules are checked here."""

_MOST_TENANT_CHARACTERS = 128


class AnalyzerHandler(analyzer_pb2_grpc.AnalyzerServiceServicer):
    """Answers AnalyzePrompt and BatchAnalyzePrompts."""

    def __init__(self, analyzer: PromptAnalyzer, validator: MessageValidator, limits: Limits) -> None:
        self._analyzer = analyzer
        self._validator = validator
        self.limits = limits

    async def AnalyzePrompt(  # noqa: N802 - the method's name in the proto
        self, request: analyzer_pb2.AnalyzePromptRequest, context: Any
    ) -> analyzer_pb2.AnalyzePromptResponse:
        """Analyses one prompt."""
        check_prompt(request.messages)
        prompt = wire.prompt(request, tenant_of(context), deadline_of(context, self.limits), Lane.SINGLE)
        finding = await self._analyzer.analyze(prompt)
        return analyzer_pb2.AnalyzePromptResponse(analysis=wire.analysis(finding))

    async def BatchAnalyzePrompts(  # noqa: N802
        self, request: analyzer_pb2.BatchAnalyzePromptsRequest, context: Any
    ) -> analyzer_pb2.BatchAnalyzePromptsResponse:
        """Analyses several prompts; each succeeds or fails by itself."""
        tenant, deadline = tenant_of(context), deadline_of(context, self.limits)
        checked = [self._checked(item, tenant, deadline) for item in request.requests]
        valid = [each for each in checked if isinstance(each, Prompt)]
        found = iter(await self._analyzer.analyze_many(valid))
        outcomes = [next(found) if isinstance(each, Prompt) else each for each in checked]
        return analyzer_pb2.BatchAnalyzePromptsResponse(results=[_result(outcome) for outcome in outcomes])

    def _checked(
        self, item: analyzer_pb2.AnalyzePromptRequest, tenant: str, deadline: Deadline
    ) -> Prompt | ServiceError:
        try:
            self._validator.check(item)
            check_prompt(item.messages)
        except ServiceError as error:
            return error
        return wire.prompt(item, tenant, deadline, Lane.BULK)


def deadline_of(context: Any, limits: Limits) -> Deadline:
    """Returns the caller's deadline, the default when there is none, never farther than the longest."""
    remaining = context.time_remaining()
    seconds = limits.default_deadline_seconds if remaining is None else remaining
    return Deadline.after(min(seconds, limits.longest_deadline_seconds))


def tenant_of(context: Any) -> str:
    """Returns the tenant that the router or the front put into the metadata; raises InvalidArgument."""
    for key, value in context.invocation_metadata() or ():
        if key == TENANT_KEY and value:
            if len(value) > _MOST_TENANT_CHARACTERS:
                raise invalid_fields([FieldViolation(TENANT_KEY, "must be at most 128 characters")])
            return str(value)
    return LOCAL_TENANT


def _result(outcome: Finding | ServiceError) -> analyzer_pb2.BatchAnalyzeResult:
    if isinstance(outcome, ServiceError):
        return analyzer_pb2.BatchAnalyzeResult(error=to_status(outcome))
    return analyzer_pb2.BatchAnalyzeResult(analysis=wire.analysis(outcome))
