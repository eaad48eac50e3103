"""Single replicas: their metrics, and their ModelService."""

from __future__ import annotations

import http.client
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families
from tinyroute.analyzer.v1 import model_pb2, model_pb2_grpc

from analyzer.rollout.comparing import Counts
from analyzer.rollout.forwarding import Reach
from analyzer.rollout.ports import Pod, RefusedError, Sight, UnreachableError

SECONDS_A_CALL = 10.0
SECONDS_TO_STAGE = 120.0
"""Loading, warming and checking a revision."""

ALL = 1.0
_ANSWERED = "tinyroute_analyzer_analyses_total"
_FAILED = "tinyroute_analyzer_forward_failures_total"
_REFUSED = "tinyroute_analyzer_refusals_total"
_DURATION = "tinyroute_analyzer_analysis_duration_seconds_bucket"
_BY_THE_MODEL = "model"
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class ReachedReplicas:
    """Replicas by the named ports of their pods: `admin` and `metrics`."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def look(self, pod: Pod) -> Sight:
        """Returns what a replica says of itself."""
        with self._models(pod) as models:
            state = _answer(models.GetServingState, model_pb2.GetServingStateRequest(), SECONDS_A_CALL).state
        return Sight(
            revision=state.active_revision,
            counts=counts(self._metrics(pod)),
            compared=state.shadow.prompt_count,
            agreement=state.shadow.agreement if state.shadow.prompt_count else 1.0,
        )

    def compare_with(self, pod: Pod, revision: str) -> None:
        """Has a replica score live prompts with another of its revisions too."""
        with self._models(pod) as models:
            state = _answer(models.GetServingState, model_pb2.GetServingStateRequest(), SECONDS_A_CALL).state
            if state.shadow.revision == revision and state.shadow.share == ALL:
                return
            if revision not in state.staged_revisions:
                _answer(models.StageRevision, model_pb2.StageRevisionRequest(revision=revision), SECONDS_TO_STAGE)
            shadow = model_pb2.SetShadowRequest(revision=revision, share=ALL)
            _answer(models.SetShadow, shadow, SECONDS_A_CALL)

    @contextmanager
    def _models(self, pod: Pod) -> Iterator[model_pb2_grpc.ModelServiceStub]:
        with self._reach.open(pod.name, _port(pod, "admin")) as address, grpc.insecure_channel(address) as channel:
            yield model_pb2_grpc.ModelServiceStub(channel)

    def _metrics(self, pod: Pod) -> str:
        with self._reach.open(pod.name, _port(pod, "metrics")) as address:
            connection = http.client.HTTPConnection(address, timeout=SECONDS_A_CALL)
            try:
                connection.request("GET", "/metrics")
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException) as error:
                raise UnreachableError(f"the metrics of {pod.name} can't be read: {error}") from error
            finally:
                connection.close()


def counts(text: str) -> Counts:
    """Returns a replica's counts out of its metrics."""
    sums = dict.fromkeys((_ANSWERED, _FAILED, _REFUSED), 0.0)
    seconds: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in sums:
                sums[sample.name] += sample.value
            elif sample.name == _DURATION and sample.labels.get("source") == _BY_THE_MODEL:
                bound = math.inf if sample.labels["le"] == "+Inf" else float(sample.labels["le"])
                seconds[bound] = seconds.get(bound, 0.0) + sample.value
    return Counts(sums[_ANSWERED], sums[_FAILED], sums[_REFUSED], seconds)


def _port(pod: Pod, name: str) -> int:
    if name not in pod.ports:
        raise UnreachableError(f"{pod.name} has no port called {name}")
    return pod.ports[name]


def _answer(method: Any, request: object, seconds: float) -> Any:
    try:
        return method(request, timeout=seconds, wait_for_ready=True)
    except grpc.RpcError as error:
        kind = UnreachableError if error.code() in _PASSING else RefusedError
        raise kind(f"ModelService: {error.code().name}: {error.details()}") from error
