"""A policy as it is kept: with where it comes from, what speaks for it, and as JSON."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

from router.analysis import Task
from router.learning.evidence import Evidence
from router.learning.isotonic import Curve
from router.learning.proposing import Check, Objective, Proposal
from router.learning.recalibration import Curves
from router.learning.watching import Profile, profile
from router.policy import Policy
from router.request import Tier

FORMAT = 1


class State(Enum):
    """Where a policy comes from and what has become of it; values are the wire's names."""

    CONFIGURED = "CONFIGURED"
    PROPOSED = "PROPOSED"
    PROMOTED = "PROMOTED"
    RETIRED = "RETIRED"


@dataclass(frozen=True)
class Version:
    """A policy with its papers. `created` is ISO 8601, UTC; `note` says why it was retired, if it was."""

    policy: Policy
    state: State
    created: str
    objective: Objective = field(default_factory=Objective)
    outcome_count: int = 0
    failure_bound: float | None = None
    certified: bool = False
    check: Check | None = None
    reported_quality: float | None = None
    profile: Profile | None = None
    note: str = ""


def version_of(proposal: Proposal, evidence: Evidence, created: str) -> Version:
    """Returns a proposal to be kept, with what it will be watched by once it serves."""
    scores = [each.score for each in evidence.outcomes]
    cases = evidence.cases or tuple(each.case for each in evidence.outcomes)
    return Version(
        policy=proposal.policy,
        state=State.PROPOSED,
        created=created,
        objective=proposal.objective,
        outcome_count=proposal.outcome_count,
        failure_bound=proposal.failure_bound,
        certified=proposal.certified,
        check=proposal.check,
        reported_quality=sum(scores) / len(scores) if scores else None,
        profile=profile(cases, proposal.policy, evidence.tiers),
    )


def to_json(version: Version) -> str:
    """Returns a version as one line of JSON. A recalibration other than curves is not kept."""
    policy = version.policy
    curves = policy.recalibrate if isinstance(policy.recalibrate, Curves) else Curves()
    papers = asdict(replace(version, policy=Policy("")))
    return json.dumps(
        papers
        | {
            "format": FORMAT,
            "state": version.state.value,
            "policy": {
                "revision": policy.revision,
                "abilities": {tier.name: ability for tier, ability in policy.abilities.items()},
                "quality_target": policy.quality_target,
                "confidence_threshold": policy.confidence_threshold,
                "default_tier": policy.default_tier.name,
                "success_unknown": policy.success_unknown,
                "tier_curves": {tier.name: curve.knots for tier, curve in curves.by_tier.items()},
                "task_curves": [[tier.name, task.value, curve.knots] for (tier, task), curve in curves.by_task.items()],
            },
        },
        allow_nan=False,
    )


def from_json(text: str) -> Version:
    """Returns the version of a text that `to_json` made; raises ValueError for any other."""
    try:
        fields = json.loads(text)
        if fields.pop("format") != FORMAT:
            raise ValueError("a policy of another format")
        return Version(
            **fields
            | {
                "policy": _policy(fields["policy"]),
                "state": State(fields["state"]),
                "objective": Objective(**fields["objective"]),
                "check": _maybe(fields["check"], lambda check: Check(**check)),
                "profile": _maybe(fields["profile"], _profile),
            }
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a policy: {error}") from error


def _policy(fields: dict[str, Any]) -> Policy:
    curves = Curves(
        {Tier[tier]: _curve(knots) for tier, knots in fields["tier_curves"].items()},
        {(Tier[tier], Task(task)): _curve(knots) for tier, task, knots in fields["task_curves"]},
    )
    small, medium, frontier = fields["success_unknown"]
    policy = Policy(
        revision=fields["revision"],
        abilities={Tier[tier]: ability for tier, ability in fields["abilities"].items()},
        quality_target=fields["quality_target"],
        confidence_threshold=fields["confidence_threshold"],
        default_tier=Tier[fields["default_tier"]],
        success_unknown=(small, medium, frontier),
    )
    return replace(policy, recalibrate=curves) if curves.by_tier else policy


def _curve(knots: list[list[float]]) -> Curve:
    return Curve(tuple((x, y) for x, y in knots))


def _profile(fields: dict[str, Any]) -> Profile:
    return Profile(tuple(fields["tiers"]), tuple(fields["gains"]))


def _maybe(fields: dict[str, Any] | None, make: Callable[[dict[str, Any]], Any]) -> Any:
    return None if fields is None else make(fields)
