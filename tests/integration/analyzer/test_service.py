"""AnalyzerService and ModelService over a real connection, with a model that has no weights."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc, model_pb2, model_pb2_grpc
from tinyroute.prompt.v1 import prompt_pb2

from analyzer.adapters.handlers import ITEMWISE, AnalyzerHandler
from analyzer.adapters.model_handlers import ModelHandler
from analyzer.adapters.telemetry import TelemetryObserver
from analyzer.analyzing import PromptAnalyzer
from analyzer.backlog import BacklogSettings
from analyzer.batching import BatchSettings, MicroBatcher, running
from analyzer.models import Models
from analyzer.settings import Limits
from analyzer.switching import ModelSwitch, RevisionFacts
from servicekit.errors import NotFound
from servicekit.interceptors import RequestInterceptor
from servicekit.serving import bind, create_server
from servicekit.status import received_reason, received_status
from servicekit.tracing import TracingServerInterceptor
from servicekit.validation import MessageValidator
from tests.support.fake_model import FakeScorer, fake_model


class Staging:
    """A loaded model."""

    def __init__(self, name: str) -> None:
        self.model, self.p99_seconds = fake_model(FakeScorer(name)), 0.01


class Shelf:
    """One revision beside the active one."""

    def list_revisions(self) -> list[RevisionFacts]:
        """Two."""
        return [RevisionFacts("fake-2", "base", 15, "head", 2.5), RevisionFacts("fake-1", "base", 15, "label", 1.0)]

    def load(self, name: str) -> Staging:
        """Loads fake-2."""
        if name != "fake-2":
            raise NotFound("UNKNOWN_REVISION", f"There is no revision {name} in this replica's store.")
        return Staging(name)


@dataclass
class Service:
    """A served analyzer and both its ends."""

    scorer: FakeScorer
    analyzer: analyzer_pb2_grpc.AnalyzerServiceStub
    operators: model_pb2_grpc.ModelServiceStub
    spans: InMemorySpanExporter
    metrics: InMemoryMetricReader

    def span(self, name: str) -> ReadableSpan:
        """The last span of a name."""
        return [span for span in self.spans.get_finished_spans() if span.name == name][-1]

    def metric(self, name: str) -> list[Any]:
        """A metric's data points."""
        data = self.metrics.get_metrics_data()
        assert data is not None
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        return list(metrics[0].data.data_points)


@asynccontextmanager
async def serving(settings: BatchSettings | None = None) -> AsyncIterator[Service]:
    """Both services on one port, interceptors and telemetry as in production."""
    async with AsyncExitStack() as stack:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        tracer, meter = tracers.get_tracer("test"), meters.get_meter("test")
        observer = TelemetryObserver(tracer, meter)
        scorer = FakeScorer()
        batcher = MicroBatcher(settings, observer)
        running(batcher, stack)
        models = Models(active=fake_model(scorer), forward_pass_count=lambda: batcher.pass_count)
        validator = MessageValidator()
        server = create_server(
            [TracingServerInterceptor(tracer, meter), RequestInterceptor(validator, itemwise=ITEMWISE)]
        )
        handler = AnalyzerHandler(PromptAnalyzer(models, batcher, observer=observer), validator, Limits())
        analyzer_pb2_grpc.add_AnalyzerServiceServicer_to_server(handler, server)
        switch = ModelSwitch(models, Shelf(), observer)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelHandler(switch), server)
        port = bind(server, "127.0.0.1", 0)
        await server.start()
        stack.push_async_callback(server.stop, None)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Service(
            scorer,
            analyzer_pb2_grpc.AnalyzerServiceStub(channel),
            model_pb2_grpc.ModelServiceStub(channel),
            exporter,
            reader,
        )


def request(text: str, role: int = prompt_pb2.ROLE_USER, **fields: Any) -> Any:
    """A request of one message."""
    return analyzer_pb2.AnalyzePromptRequest(
        messages=[prompt_pb2.Message(role=role, content=text)],  # type: ignore[arg-type]
        **fields,
    )


async def failed(call: Any) -> grpc.aio.AioRpcError:
    """The error a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_an_analysis_is_complete() -> None:
    """Every field of the contract that applies."""
    async with serving() as service:
        answer = (await service.analyzer.AnalyzePrompt(request("What is a lute?"))).analysis
    assert [each.ability for each in answer.success] == [1, 2, 3]
    assert answer.complexity == pytest.approx(1 - answer.success[0].probability)
    assert answer.expected_gain == pytest.approx(answer.success[2].probability - answer.success[0].probability)
    assert sum(each.probability for each in answer.task_probabilities) == pytest.approx(1.0)
    assert answer.source == analyzer_pb2.ANALYSIS_SOURCE_MODEL
    assert not answer.HasField("similarity")
    assert answer.model_revision == "fake-1"
    assert answer.timings.HasField("queue")
    assert answer.timings.HasField("tokenize")
    assert answer.timings.HasField("forward")
    assert answer.timings.batch_size == 1


async def test_a_cached_answer_says_so_and_names_no_pass() -> None:
    """And how similar it was."""
    async with serving() as service:
        await service.analyzer.AnalyzePrompt(request("What is a lute?"))
        exact = (await service.analyzer.AnalyzePrompt(request("What is a lute?"))).analysis
        near = (await service.analyzer.AnalyzePrompt(request("what is a lute, please?"))).analysis
    assert exact.source == analyzer_pb2.ANALYSIS_SOURCE_CACHE_EXACT
    assert exact.timings.batch_size == 0
    assert not exact.timings.HasField("forward")
    assert near.source == analyzer_pb2.ANALYSIS_SOURCE_CACHE_SIMILAR
    assert 0.0 < near.similarity <= 1.0


async def test_tenants_come_from_metadata_and_share_nothing() -> None:
    """As the router sends them."""
    async with serving() as service:
        for tenant in ("a", "b"):
            metadata = (("x-tinyroute-tenant", tenant),)
            answer = await service.analyzer.AnalyzePrompt(request("What is a lute?"), metadata=metadata)
            assert answer.analysis.source == analyzer_pb2.ANALYSIS_SOURCE_MODEL
        error = await failed(
            service.analyzer.AnalyzePrompt(request("x"), metadata=(("x-tinyroute-tenant", "t" * 129),))
        )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (analyzer_pb2.AnalyzePromptRequest(), "messages"),
        (request("   "), "messages[0].content"),
        (request("hi", prompt_pb2.ROLE_ASSISTANT), "messages[0].role"),
        (request("x" * 262_145), "messages[0].content"),
    ],
)
async def test_a_bad_prompt_is_invalid_and_the_field_is_named(asked: Any, field: str) -> None:
    """In the details and in the sentence."""
    async with serving() as service:
        error = await failed(service.analyzer.AnalyzePrompt(asked))
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in received_status(error).details)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in [violation.field for violation in bad.field_violations]


async def test_a_message_beyond_one_mebibyte_is_not_even_received() -> None:
    """GRPC's own refusal."""
    async with serving() as service:
        error = await failed(service.analyzer.AnalyzePrompt(request("x" * 1_200_000)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_item_of_a_batch_fails_alone_and_in_its_place() -> None:
    """The call is OK."""
    items = [request("What is a lute?"), request(" "), request("hi", 0), request("Name two rivers.")]
    async with serving() as service:
        answer = await service.analyzer.BatchAnalyzePrompts(analyzer_pb2.BatchAnalyzePromptsRequest(requests=items))
    assert [each.WhichOneof("result") for each in answer.results] == ["analysis", "error", "error", "analysis"]
    assert answer.results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_an_overloaded_replica_refuses_at_once_and_says_when_to_come_again() -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, while the engine still works on others."""
    async with serving(BatchSettings(BacklogSettings(most_waiting=2))) as service:
        service.scorer.gate = asyncio.Event()
        calls = [asyncio.ensure_future(service.analyzer.AnalyzePrompt(request("First one?")))]
        await service.scorer.started.wait()
        calls += [asyncio.ensure_future(service.analyzer.AnalyzePrompt(request(f"Next {n}?"))) for n in range(2)]
        await asyncio.sleep(0.1)
        error = await failed(service.analyzer.AnalyzePrompt(request("One too many?")))
        service.scorer.gate.set()
        await asyncio.gather(*calls)
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in received_status(error).details)
        assert retry.retry_delay.ToNanoseconds() > 0
        assert received_reason(error) == "QUEUE_FULL"
        refusals = service.metric("tinyroute.analyzer.refusals")
    assert refusals[0].attributes == {"reason": "QUEUE_FULL"}


async def test_a_cancelled_call_is_dropped_from_the_queue() -> None:
    """Its prompt is never computed."""
    async with serving() as service:
        service.scorer.gate = asyncio.Event()
        first = asyncio.ensure_future(service.analyzer.AnalyzePrompt(request("First one?")))
        await service.scorer.started.wait()
        gone = service.analyzer.AnalyzePrompt(request("Never mind?"))
        waiting = asyncio.ensure_future(gone.code())
        await asyncio.sleep(0.05)
        gone.cancel()
        await waiting
        await asyncio.sleep(0.05)
        service.scorer.gate.set()
        await first
        await service.analyzer.AnalyzePrompt(request("Last one?"))
    assert service.scorer.prompt_count == 2


async def test_the_stages_hang_under_the_call_and_link_to_the_batch() -> None:
    """queue, tokenize and forward, in that trace; the batch links back."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving() as service:
        await service.analyzer.AnalyzePrompt(request("What is a lute?"), metadata=(("traceparent", traceparent),))
        await asyncio.sleep(0.05)
        call, batch, forward = service.span("AnalyzePrompt"), service.span("batch"), service.span("forward")
        stages = [service.span(name) for name in ("queue", "tokenize", "forward")]
        waits = service.metric("tinyroute.analyzer.queue.wait")
    assert f"{call.context.trace_id:032x}" == traceparent.split("-")[1]
    for stage in stages:
        assert stage.parent is not None
        assert stage.parent.span_id == call.context.span_id
    assert [link.context.span_id for link in forward.links] == [batch.context.span_id]
    assert [link.context.span_id for link in batch.links] == [call.context.span_id]
    assert call.attributes is not None
    assert call.attributes["tinyroute.analysis.source"] == "model"
    assert waits[0].count == 1
    assert "lute" not in str([span.to_json() for span in service.spans.get_finished_spans()])


async def test_operators_switch_a_running_replica() -> None:
    """Stage, activate, roll back; every call in between is answered by one whole revision."""
    async with serving() as service:
        listed = await service.operators.ListRevisions(model_pb2.ListRevisionsRequest())
        assert [(each.name, each.judge) for each in listed.revisions] == [("fake-2", 1), ("fake-1", 2)]
        staged = await service.operators.StageRevision(model_pb2.StageRevisionRequest(revision="fake-2"))
        assert (staged.state.active_revision, list(staged.state.staged_revisions)) == ("fake-1", ["fake-2"])
        await service.operators.ActivateRevision(model_pb2.ActivateRevisionRequest(revision="fake-2"))
        answer = await service.analyzer.AnalyzePrompt(request("What is a lute?"))
        assert answer.analysis.model_revision == "fake-2"
        back = await service.operators.RollbackRevision(model_pb2.RollbackRevisionRequest())
        assert (back.state.active_revision, back.state.previous_revision) == ("fake-1", "fake-2")
        missing = await failed(service.operators.StageRevision(model_pb2.StageRevisionRequest(revision="fake-9")))
        shadow = await failed(service.operators.SetShadow(model_pb2.SetShadowRequest(revision="fake-2", share=0.1)))
        state = (await service.operators.GetServingState(model_pb2.GetServingStateRequest())).state
    assert missing.code() is grpc.StatusCode.NOT_FOUND
    assert shadow.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "fake-9" in state.last_refusal
    assert state.forward_pass_count == 1


async def test_under_load_every_call_is_answered_and_the_loop_is_not_held_up() -> None:
    """400 calls at once: answers or refusals, none lost, in shared passes."""
    async with serving() as service:
        service.scorer.seconds = 0.02
        calls = [service.analyzer.AnalyzePrompt(request(f"Question number {n}?"), timeout=20) for n in range(400)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    answered = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert len(answered) + len(refused) == 400
    assert {error.code() for error in refused} <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert service.scorer.prompt_count == len(answered)
    assert len(service.scorer.passes) < len(answered)  # how much fuller they are depends on the machine
