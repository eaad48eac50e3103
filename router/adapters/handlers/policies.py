"""PolicyService: operators' view of the policies that a store keeps, on the admin port alone."""

import datetime as dt
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from tinyroute.router.v1 import admin_pb2, admin_pb2_grpc

from router.adapters.wire import enums
from router.learning.proposing import Objective
from router.learning.versions import State, Version

Context = Any

STATES = {
    State.CONFIGURED: admin_pb2.POLICY_STATE_CONFIGURED,
    State.PROPOSED: admin_pb2.POLICY_STATE_PROPOSED,
    State.PROMOTED: admin_pb2.POLICY_STATE_PROMOTED,
    State.RETIRED: admin_pb2.POLICY_STATE_RETIRED,
}


class Policies(Protocol):
    """The policies of a store; see `router.learning.steering.Steering`."""

    async def find(self, name: str) -> Version:
        """Returns a version, or the one that serves for an empty name."""
        ...

    async def propose(self, objective: Objective) -> Version:
        """Returns a new version fitted to what was recorded."""
        ...

    async def promote(self, name: str) -> Version:
        """Makes a version serve."""
        ...

    async def rollback(self) -> Version:
        """Goes back one version."""
        ...


class StoredPolicyHandlers(admin_pb2_grpc.PolicyServiceServicer):
    """From messages to the store's policies and back."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    async def GetPolicy(self, request: admin_pb2.GetPolicyRequest, context: Context) -> admin_pb2.GetPolicyResponse:  # noqa: N802, ARG002
        """Returns a policy."""
        return admin_pb2.GetPolicyResponse(policy=version_to_wire(await self._policies.find(request.revision)))

    async def ProposePolicy(  # noqa: N802
        self,
        request: admin_pb2.ProposePolicyRequest,
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.ProposePolicyResponse:
        """Fits a policy."""
        proposed = await self._policies.propose(objective(request))
        return admin_pb2.ProposePolicyResponse(policy=version_to_wire(proposed))

    async def PromotePolicy(  # noqa: N802
        self,
        request: admin_pb2.PromotePolicyRequest,
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.PromotePolicyResponse:
        """Makes a proposal serve."""
        return admin_pb2.PromotePolicyResponse(policy=version_to_wire(await self._policies.promote(request.revision)))

    async def RollbackPolicy(  # noqa: N802
        self,
        request: admin_pb2.RollbackPolicyRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> admin_pb2.RollbackPolicyResponse:
        """Goes back to the policy before."""
        return admin_pb2.RollbackPolicyResponse(policy=version_to_wire(await self._policies.rollback()))


def objective(request: admin_pb2.ProposePolicyRequest) -> Objective:
    """What is asked for."""
    if request.HasField("mean_cost_micros"):
        return Objective(mean_cost_micros=float(request.mean_cost_micros))
    return Objective(request.quality_target)


def version_to_wire(version: Version) -> admin_pb2.Policy:
    """A policy with its papers."""
    policy = version.policy
    made = Timestamp()
    made.FromDatetime(dt.datetime.fromisoformat(version.created))
    return admin_pb2.Policy(
        revision=policy.revision,
        state=STATES[version.state],
        quality_target=policy.quality_target,
        confidence_threshold=policy.confidence_threshold,
        abilities=[
            admin_pb2.TierAbility(tier=enums.TIER.to_wire(tier), ability=ability)
            for tier, ability in sorted(policy.abilities.items())
        ],
        outcome_count=version.outcome_count,
        failure_bound=version.failure_bound,
        create_time=made,
    )
