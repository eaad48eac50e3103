"""Enums on the wire and in the core: matched by name, once, when the module loads.

A wire value is called PREFIX_NAME and its core member NAME. `..._UNSPECIFIED` means the core's UNSPECIFIED where it has
one, else None. A wire value without a core member is an error of this program, found at import.
"""

from enum import Enum
from typing import Any, Generic, TypeVar

from tinyroute.analyzer.v1 import analyzer_pb2
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2

from router.analysis import AnalysisSource, Rung, SkipReason, Task
from router.answer import AttemptOutcome, FinishReason
from router.decision import Cause, Exclusion
from router.request import Criticality, ResponseFormatType, Role, Tier

Member = TypeVar("Member", bound=Enum)


class EnumMap(Generic[Member]):
    """Both directions between one wire enum and one core enum."""

    def __init__(self, wire: Any, core: type[Member]) -> None:
        zero = wire.DESCRIPTOR.values_by_number[0].name
        prefix = zero.removesuffix("UNSPECIFIED")
        names = {value.name.removeprefix(prefix): value.number for value in wire.DESCRIPTOR.values}
        self.descriptor = wire.DESCRIPTOR
        self.core = core
        self._to_core = {number: core[name] for name, number in names.items() if number or name in core.__members__}
        self._to_wire = {member: names[member.name] for member in core if member.name in names}

    def to_core(self, number: int) -> Member | None:
        """The core's member; None for "not set" and for numbers of a later version."""
        return self._to_core.get(number)

    def to_wire(self, member: Member | None) -> Any:
        """The wire's number; 0 for None and for what this wire enum does not know."""
        return 0 if member is None else self._to_wire.get(member, 0)

    def __repr__(self) -> str:
        return f"EnumMap({self.descriptor.full_name}: {len(self._to_core)} values)"


ROLE = EnumMap(prompt_pb2.Role, Role)
TASK = EnumMap(prompt_pb2.Task, Task)
TIER = EnumMap(router_pb2.Tier, Tier)
CRITICALITY = EnumMap(router_pb2.Criticality, Criticality)
RESPONSE_FORMAT = EnumMap(router_pb2.ResponseFormatType, ResponseFormatType)
FINISH_REASON = EnumMap(router_pb2.FinishReason, FinishReason)
SOURCE = EnumMap(router_pb2.AnalysisSource, AnalysisSource)
ANALYZER_SOURCE = EnumMap(analyzer_pb2.AnalysisSource, AnalysisSource)
CAUSE = EnumMap(router_pb2.Cause, Cause)
EXCLUSION = EnumMap(router_pb2.Exclusion, Exclusion)
RUNG = EnumMap(router_pb2.Rung, Rung)
SKIP_REASON = EnumMap(router_pb2.SkipReason, SkipReason)
ATTEMPT_OUTCOME = EnumMap(router_pb2.AttemptOutcome, AttemptOutcome)
