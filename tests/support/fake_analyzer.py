"""A scriptable analyzer: a real gRPC server whose every answer the test chooses."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc
from tinyroute.prompt.v1 import prompt_pb2

ABILITIES = (analyzer_pb2.ABILITY_SMALL, analyzer_pb2.ABILITY_MEDIUM, analyzer_pb2.ABILITY_FRONTIER)


def found(*success: float, confidence: float = 0.9, **changes: Any) -> analyzer_pb2.Analysis:
    """An analysis with these probabilities, weakest ability first."""
    fields: dict[str, Any] = {
        "success": [
            analyzer_pb2.AbilitySuccess(ability=ability, probability=probability)
            for ability, probability in zip(ABILITIES, success, strict=False)
        ],
        "complexity": 1 - success[0] if success else 0,
        "expected_gain": success[-1] - success[0] if success else 0,
        "confidence": confidence,
        "task": prompt_pb2.TASK_MATH,
        "expected_output_tokens": 120,
        "prompt_token_count": 12,
        "source": analyzer_pb2.ANALYSIS_SOURCE_MODEL,
        "model_revision": "tiny-1",
        "timings": analyzer_pb2.AnalysisTimings(forward=Duration(nanos=12_000_000), batch_size=1),
    }
    return analyzer_pb2.Analysis(**(fields | changes))


def refusal(code: grpc.StatusCode, retry_after: float | None = None) -> Callable[[Any], Any]:
    """An answer that is a status."""

    async def refuse(context: Any) -> None:
        metadata = ()
        if retry_after is not None:
            detail = any_pb2.Any()
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromNanoseconds(round(retry_after * 1e9))
            detail.Pack(info)
            status = status_pb2.Status(code=code.value[0], message="scripted", details=[detail])
            metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(code, "scripted", metadata)

    return refuse


class FakeAnalyzer(analyzer_pb2_grpc.AnalyzerServiceServicer):
    """Answers every call with `answer`: an analysis, or a refusal; after `latency` seconds."""

    def __init__(self, answer: Any = None, latency: float = 0.0) -> None:
        self.answer = answer if answer is not None else found(0.96, 0.97, 0.99)
        self.latency = latency
        self.seen: list[tuple[Any, dict[str, Any]]] = []
        self.cancelled = 0

    async def AnalyzePrompt(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the proto
        """Answers as told."""
        self.seen.append((request, dict(context.invocation_metadata())))
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if callable(self.answer):
            await self.answer(context)
        return analyzer_pb2.AnalyzePromptResponse(analysis=self.answer)

    async def BatchAnalyzePrompts(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answers every item as told."""
        self.seen.append((request, dict(context.invocation_metadata())))
        await asyncio.sleep(self.latency)
        if callable(self.answer):
            await self.answer(context)
        results = [analyzer_pb2.BatchAnalyzeResult(analysis=self.answer) for _ in request.requests]
        return analyzer_pb2.BatchAnalyzePromptsResponse(results=results)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listens, on any free port unless told."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])  # a port of its own
        analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.target = f"127.0.0.1:{self.port}"
        await self._server.start()

    async def stop(self) -> None:
        """Stops at once."""
        await self._server.stop(0)
