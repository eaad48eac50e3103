"""Scripted analyzer replicas: ModelService and /metrics on this machine, each look at them some prompts later."""

from __future__ import annotations

import http.server
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from tinyroute.analyzer.v1 import model_pb2, model_pb2_grpc

BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
PROMPTS_A_LOOK = 300


@dataclass(frozen=True)
class Behaviour:
    """How replicas of one revision do."""

    seconds: float = 0.02
    agreement: float = 0.98
    failed_share: float = 0.0
    refuses_to_stage: bool = False
    starts: bool = True


@dataclass
class FakeReplica(model_pb2_grpc.ModelServiceServicer):
    """One replica, serving one revision."""

    revision: str
    behaviour: Behaviour
    prompts: int = 0
    compared: int = 0
    staged: list[str] = field(default_factory=list)
    shadow: str = ""

    def __enter__(self) -> Self:
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        model_pb2_grpc.add_ModelServiceServicer_to_server(self, self._grpc)  # type: ignore[no-untyped-call]
        self.admin_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        replica = self

        class Metrics(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = replica.metrics().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Says nothing."""

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
        self.metrics_port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(None).wait()

    def metrics(self) -> str:
        """Returns the metrics, some prompts later."""
        self.prompts += PROMPTS_A_LOOK
        lost = round(self.prompts * self.behaviour.failed_share)
        name = "tinyroute_analyzer_analysis_duration_seconds_bucket"
        lines = [f'tinyroute_analyzer_analyses_total{{source="model"}} {self.prompts - lost}']
        lines += [f"tinyroute_analyzer_forward_failures_total {lost}"]
        for bound in BOUNDS:
            inside = self.prompts - lost if bound >= self.behaviour.seconds else 0
            lines.append(f'{name}{{le="{bound}",source="model"}} {inside}')
        lines.append(f'{name}{{le="+Inf",source="model"}} {self.prompts - lost}')
        return "\n".join(lines) + "\n"

    def GetServingState(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - the method's name in the proto
        """Tells the state, some compared prompts later."""
        shadow = None
        if self.shadow:
            self.compared += PROMPTS_A_LOOK
            shadow = model_pb2.Shadow(
                revision=self.shadow, share=1.0, prompt_count=self.compared, agreement=self.behaviour.agreement
            )
        state = model_pb2.ServingState(active_revision=self.revision, staged_revisions=self.staged, shadow=shadow)
        return model_pb2.GetServingStateResponse(state=state)

    def StageRevision(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Stages, or refuses to."""
        if self.behaviour.refuses_to_stage:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "golden prompts differ")
        self.staged.append(request.revision)
        return model_pb2.StageRevisionResponse()

    def SetShadow(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Takes what is staged."""
        if request.revision not in self.staged:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not staged")
        self.shadow = request.revision
        return model_pb2.SetShadowResponse()
