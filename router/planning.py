"""Gathers the facts for the policy: what each tier would cost, whether it fits, takes calls and can be paid."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.answer import Usage
from router.budgets import Budgets
from router.cascade import Finding
from router.decision import Decision
from router.facts import Facts, TierOption
from router.fleet import Guarded
from router.observer import Decided, Observer, Stage, notify, staged
from router.policy import plan
from router.ports import TokenEstimator, WallClock
from router.request import RouteRequest, Tier
from router.sessions import Sessions
from router.terms import Terms
from servicekit.errors import QuotaViolation

EXPECTED_OUTPUT_TOKENS = 256
"""How long an answer is taken to be when no analysis says."""


@dataclass(frozen=True)
class Plan:
    """The policy's choice, and the length of the prompt that it rests on."""

    decision: Decision
    prompt_tokens: int


@dataclass(frozen=True)
class Size:
    """Tokens of a request: the prompt's, the answer's as expected, and the most the caller allows for it."""

    prompt: int
    expected: int
    wanted: int | None


@dataclass(frozen=True)
class Planner:
    """Turns what the cascade found into a plan."""

    sessions: Sessions
    budgets: Budgets
    tokens: TokenEstimator
    observer: Observer
    now: WallClock

    def plan(self, request: RouteRequest, finding: Finding, terms: Terms) -> Plan:
        """Returns the plan; raises as `router.policy.plan` does."""
        with staged(self.observer, Stage.PLAN, request):
            made = self._plan(request, finding, terms)
            notify(self.observer.decided, Decided(request.request_id, made.decision))
        return made

    def _plan(self, request: RouteRequest, finding: Finding, terms: Terms) -> Plan:
        size = self._size(request, finding)
        quotas: list[QuotaViolation] = []
        options = tuple(self._option(tier, request.tenant, size, terms, quotas) for tier in terms.fleet.tiers())
        facts = Facts(
            finding=finding,
            options=options,
            constraints=request.constraints,
            session_tier=self.sessions.tier(request.tenant, request.session_id),
            price_revision=terms.prices.revision,
            quota=quotas[0] if quotas else None,
        )
        return Plan(plan(facts, terms.policy), size.prompt)

    def _size(self, request: RouteRequest, finding: Finding) -> Size:
        analysis, wanted = finding.analysis, request.generation.max_output_tokens
        prompt = (analysis.prompt_token_count if analysis else 0) or self.tokens.prompt(request.messages)
        expected = (analysis.expected_output_tokens if analysis else 0) or EXPECTED_OUTPUT_TOKENS
        return Size(prompt, expected if wanted is None else min(expected, wanted), wanted)

    def _option(self, tier: Tier, tenant: str, size: Size, terms: Terms, quotas: list[QuotaViolation]) -> TierOption:
        members = terms.fleet.of(tier)
        rooms = [(member, room) for member in members if (room := member.room(size.prompt, size.wanted)) is not None]
        quota = self.budgets.objection(tenant, tier, self._cost(rooms, size.prompt, terms))
        quotas.extend([quota] if quota is not None else [])
        sized = rooms or [(member, member.backend.max_output_tokens) for member in members]
        likely = [(member, min(size.expected, room)) for member, room in sized]
        return TierOption(
            tier=tier,
            estimated_cost_micros=self._cost(likely, size.prompt, terms),
            fits=bool(rooms),
            takes_calls=any(member.breaker.admits() for member, _ in sized),
            affordable=quota is None,
        )

    def _cost(self, answers: Sequence[tuple[Guarded, int]], prompt_tokens: int, terms: Terms) -> int | None:
        """Returns what the dearest of the backends would cost; None when a price is not known."""
        costs = [
            terms.prices.price(Usage(prompt_tokens, output), member.backend.model, self.now())
            for member, output in answers
        ]
        known = [cost for cost in costs if cost is not None]
        return max(known, default=0) if len(known) == len(costs) else None
