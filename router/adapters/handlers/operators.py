"""PolicyService and UsageService: operators' view, on the admin port alone."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from tinyroute.router.v1 import admin_pb2, admin_pb2_grpc

from router.adapters.wire import enums
from router.policy import Policy
from router.usage import UsageSum
from servicekit.errors import FieldViolation, NotFound, Unimplemented
from servicekit.validation import invalid_fields

Context = Any

NO_FITTING = "Policies are fitted to what the ledger keeps, which is switched off here."


class UsageStore(Protocol):
    """What a store can tell of costs. Blocks."""

    def usage(self, dimensions: Sequence[str], start: str, end: str, tenant: str) -> Sequence[UsageSum]:
        """Returns sums by the dimensions, dearest first."""
        ...


class PolicyHandlers(admin_pb2_grpc.PolicyServiceServicer):
    """Shows the policy of a router that keeps no ledger: its configuration's own."""

    def __init__(self, serving: Callable[[], Policy], started: dt.datetime) -> None:
        self._serving = serving
        self._started = started

    async def GetPolicy(self, request: admin_pb2.GetPolicyRequest, context: Context) -> admin_pb2.GetPolicyResponse:  # noqa: N802, ARG002
        """Returns the policy of the configuration."""
        policy = self._serving()
        if request.revision not in {"", policy.revision}:
            raise NotFound("POLICY_NOT_FOUND", "There is no policy of that revision.")
        return admin_pb2.GetPolicyResponse(policy=policy_to_wire(policy, self._started))

    async def ProposePolicy(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Not here."""
        raise Unimplemented("LEDGER_SWITCHED_OFF", NO_FITTING)

    async def PromotePolicy(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Not here."""
        raise Unimplemented("LEDGER_SWITCHED_OFF", NO_FITTING)

    async def RollbackPolicy(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Not here."""
        raise Unimplemented("LEDGER_SWITCHED_OFF", NO_FITTING)


def policy_to_wire(policy: Policy, created: dt.datetime) -> admin_pb2.Policy:
    """The configuration's policy, made when it was read."""
    made = Timestamp()
    made.FromDatetime(created)
    return admin_pb2.Policy(
        revision=policy.revision,
        state=admin_pb2.POLICY_STATE_CONFIGURED,
        quality_target=policy.quality_target,
        confidence_threshold=policy.confidence_threshold,
        abilities=[
            admin_pb2.TierAbility(tier=enums.TIER.to_wire(tier), ability=ability)
            for tier, ability in sorted(policy.abilities.items())
        ],
        create_time=made,
    )


class UsageHandlers(admin_pb2_grpc.UsageServiceServicer):
    """Tells what was spent. `flush` brings the store up to date before it is asked."""

    def __init__(self, store: UsageStore, flush: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._flush = flush

    async def QueryUsage(self, request: admin_pb2.QueryUsageRequest, context: Context) -> admin_pb2.QueryUsageResponse:  # noqa: N802, ARG002
        """Sums over days and groups."""
        start, end = period(request, dt.datetime.now(dt.UTC))
        dimensions = [dimension_name(each) for each in request.group_by]
        await self._flush()
        sums = await asyncio.to_thread(self._store.usage, dimensions, start, end, request.tenant)
        return admin_pb2.QueryUsageResponse(rows=[usage_row(each) for each in sums])


def dimension_name(number: Any) -> str:
    """A dimension as the store names it."""
    return admin_pb2.UsageDimension.Name(number).removeprefix("USAGE_DIMENSION_")


def period(request: admin_pb2.QueryUsageRequest, now: dt.datetime) -> tuple[str, str]:
    """Start and end in ISO 8601, UTC: by default from the start of the month until now. Raises InvalidArgument."""
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = now + dt.timedelta(seconds=1)
    if request.HasField("start_time"):
        start = request.start_time.ToDatetime(dt.UTC)
    if request.HasField("end_time"):
        end = request.end_time.ToDatetime(dt.UTC)
    if end < start:
        raise invalid_fields([FieldViolation("end_time", "must not be before start_time")])
    return start.isoformat(), end.isoformat()


def usage_row(each: UsageSum) -> admin_pb2.UsageRow:
    """One group's sums."""
    return admin_pb2.UsageRow(
        group=each.group,
        request_count=each.requests,
        attempt_count=each.attempts,
        input_token_count=each.input_tokens,
        output_token_count=each.output_tokens,
        cost_micros=each.cost_micros,
        analysis_cost_micros=each.analysis_cost_micros,
        saved_micros=each.saved_micros,
        cost_unknown_count=each.cost_unknown,
    )


class NoUsage(admin_pb2_grpc.UsageServiceServicer):
    """What a router without a ledger says."""

    async def QueryUsage(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Not here."""
        raise Unimplemented("LEDGER_SWITCHED_OFF", "Costs are kept in the ledger, which is switched off here.")
