"""ModelService on the wire."""

from __future__ import annotations

from typing import Any

from google.protobuf import timestamp_pb2
from tinyroute.analyzer.v1 import model_pb2, model_pb2_grpc

from analyzer.switching import ModelSwitch, RevisionFacts
from servicekit.errors import Unimplemented

SERVICE = "tinyroute.analyzer.v1.ModelService"

_JUDGES = {"head": model_pb2.JUDGE_HEAD, "label": model_pb2.JUDGE_LABEL}


# ruff: noqa: N802, ARG002 - gRPC names the methods and calls them
class ModelHandler(model_pb2_grpc.ModelServiceServicer):
    """Answers the operators of one replica. A switch lasts until the process ends: the store is not changed."""

    def __init__(self, switch: ModelSwitch) -> None:
        self._switch = switch

    async def ListRevisions(
        self, request: model_pb2.ListRevisionsRequest, context: Any
    ) -> model_pb2.ListRevisionsResponse:
        """Lists the revisions on disk."""
        return model_pb2.ListRevisionsResponse(revisions=map(_revision, await self._switch.list_revisions()))

    async def GetServingState(
        self, request: model_pb2.GetServingStateRequest, context: Any
    ) -> model_pb2.GetServingStateResponse:
        """Tells what answers."""
        return model_pb2.GetServingStateResponse(state=self._state())

    async def StageRevision(
        self, request: model_pb2.StageRevisionRequest, context: Any
    ) -> model_pb2.StageRevisionResponse:
        """Loads a revision beside the active one."""
        await self._switch.stage(request.revision)
        return model_pb2.StageRevisionResponse(state=self._state())

    async def ActivateRevision(
        self, request: model_pb2.ActivateRevisionRequest, context: Any
    ) -> model_pb2.ActivateRevisionResponse:
        """Switches."""
        await self._switch.activate(request.revision, force=request.force)
        return model_pb2.ActivateRevisionResponse(state=self._state())

    async def RollbackRevision(
        self, request: model_pb2.RollbackRevisionRequest, context: Any
    ) -> model_pb2.RollbackRevisionResponse:
        """Switches back."""
        await self._switch.rollback()
        return model_pb2.RollbackRevisionResponse(state=self._state())

    async def SetShadow(self, request: model_pb2.SetShadowRequest, context: Any) -> model_pb2.SetShadowResponse:
        """Is not there yet."""
        raise Unimplemented(
            "SHADOW_NOT_IMPLEMENTED",
            "This version can't score live prompts with a second revision; stage it and compare with 'analyzer eval'.",
        )

    def _state(self) -> model_pb2.ServingState:
        models = self._switch.models
        return model_pb2.ServingState(
            active_revision=models.active.revision if models.active else "",
            previous_revision=models.previous_revision or "",
            staged_revisions=[models.staged_revision] if models.staged_revision else [],
            last_refusal=models.last_refusal,
            forward_pass_count=models.forward_pass_count(),
        )


def _revision(facts: RevisionFacts) -> model_pb2.Revision:
    created = timestamp_pb2.Timestamp()
    created.FromNanoseconds(round(facts.created_at * 1e9))
    return model_pb2.Revision(
        name=facts.name,
        base_model=facts.base_model,
        layer_count=facts.layer_count,
        judge=_JUDGES[facts.judge],
        create_time=created,
    )
