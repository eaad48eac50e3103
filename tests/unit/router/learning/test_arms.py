"""The other answer: by the tier asked for and no other, booked as a shadow, paid by the tenant or not made."""

import pytest

from router.answer import Answer, AttemptOutcome
from router.attempt import Surroundings
from router.books import SHADOW, Books
from router.budgets import Budgets, TenantBudgets, Unlimited
from router.dispatch import Dispatcher
from router.fakes import a_request, failed
from router.learning.arms import ShadowArm
from router.planning import Planner
from router.purse import BudgetLimits
from router.request import Constraints, Tier
from router.terms import Terms
from router.tokens import RoughTokens
from tests.support import virtual_time
from tests.support.router_kit import Kit, a_backend, now, seconds

REQUEST = a_request(session_id="s", constraints=Constraints(quality_target=0.5))


def arm(kit: Kit, budgets: Budgets | None = None) -> ShadowArm:
    """An arm on the kit's parts."""
    purse, tokens = budgets or Unlimited(), RoughTokens()
    return ShadowArm(
        Terms(kit.policy, kit.prices, kit.fleet),
        Planner(kit.sessions, purse, tokens, kit.observer, now),
        Dispatcher(Surroundings(tokens, kit.observer, virtual_time.clock, now)),
        Books(kit.ledger, purse, kit.sessions, kit.observer, now, virtual_time.clock),
    )


async def answered(kit: Kit) -> Answer:
    """What the caller got."""
    return await kit.router().route(REQUEST, seconds(10.0))


@pytest.mark.parametrize("tier", [Tier.MEDIUM, Tier.LARGE])
async def test_the_tier_asked_for_answers_and_is_booked_as_a_shadow(tier: Tier) -> None:
    """Under the same request, with the analysis that is there and was paid for once."""
    kit = Kit([a_backend(each, each.name) for each in Tier])
    answer = await answered(kit)
    assert await arm(kit)(REQUEST, answer, tier) == tier.name
    first, shadow = kit.ledger.records
    assert (shadow.rpc, shadow.request_id, shadow.tier) == (SHADOW, first.request_id, int(tier))
    assert shadow.cost_micros is not None
    assert shadow.cost_micros > 0
    assert shadow.top_tier_micros == 0
    assert shadow.analysis.success == first.analysis.success
    assert shadow.analysis.cost_micros == 0


async def test_a_session_does_not_rise_by_a_shadow() -> None:
    """Nobody asked for it."""
    kit = Kit()
    answer = await answered(kit)
    await arm(kit)(REQUEST, answer, Tier.LARGE)
    assert kit.sessions.tier("acme", "s") is Tier.SMALL


async def test_a_tier_that_fails_is_not_replaced_by_another() -> None:
    """There is no answer, and the failure is booked."""
    down = failed(AttemptOutcome.UNAVAILABLE)
    kit = Kit([a_backend(Tier.SMALL), a_backend(Tier.MEDIUM, down), a_backend(Tier.LARGE)])
    answer = await answered(kit)
    assert await arm(kit)(REQUEST, answer, Tier.MEDIUM) is None
    assert kit.ledger.records[-1].status == "UNAVAILABLE"
    assert [attempt.tier for attempt in kit.ledger.records[-1].attempts] == [int(Tier.MEDIUM)]


async def test_a_spent_budget_pays_for_no_shadow() -> None:
    """Nothing is sent."""
    kit = Kit()
    answer = await answered(kit)
    budgets = TenantBudgets({"acme": BudgetLimits(micros_per_day=1)}, now)
    assert await arm(kit, budgets)(REQUEST, answer, Tier.LARGE) is None
    assert not kit.backends[2].calls
    assert kit.ledger.records[-1].cost_micros == 0
