"""Budgets: set aside, given back, booked; never overspent by more than was underestimated."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from router.budgets import Reservation, TenantBudgets, Unlimited
from router.purse import BudgetLimits
from router.request import Tier

NOON = datetime(2026, 5, 4, 12, 0, 30, tzinfo=UTC)
S, L = Tier.SMALL, Tier.LARGE


class Day:
    """A date that can be moved on."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Returns the date."""
        return self.now


def budgets(day: Day | None = None, **limits: object) -> TenantBudgets:
    """Returns budgets of acme alone."""
    return TenantBudgets({"acme": BudgetLimits(**limits)}, day or Day())  # type: ignore[arg-type]


def test_what_is_set_aside_is_not_there_for_others() -> None:
    """Until it is settled."""
    acme = budgets(micros_per_day=100)
    first, second = acme.open("acme"), acme.open("acme")
    assert first.cover(S, 60)
    assert not second.cover(S, 60)
    first.settle(10)
    assert second.cover(S, 90)
    assert not second.cover(S, 91)


def test_a_reservation_is_raised_not_repeated() -> None:
    """Covering 60, then 80 in all, sets 80 aside."""
    acme = budgets(micros_per_day=100)
    reservation = acme.open("acme")
    assert reservation.cover(S, 60)
    assert reservation.cover(S, 80)
    assert reservation.cover(S, 70)
    assert acme.open("acme").cover(S, 20)
    assert "80 micro-dollars" in repr(reservation)


def test_the_objection_names_which_spent_limit_and_reset() -> None:
    """Day and minute, in UTC."""
    acme = budgets(micros_per_day=1000, micros_per_minute=100)
    reservation = acme.open("acme")
    reservation.settle(90)
    quota = acme.objection("acme", S, 20)
    assert quota is not None
    assert (quota.subject, quota.spent_micros, quota.limit_micros) == ("budget per minute of tenant acme", 90, 100)
    assert quota.reset_seconds == 30.0
    quota = acme.objection("acme", S, 2000)
    assert quota is not None
    assert (quota.subject, quota.reset_seconds) == ("daily budget of tenant acme", 12 * 3600 - 30.0)


def test_a_new_minute_and_a_new_day_begin_anew() -> None:
    """What was set aside before stays so."""
    day = Day()
    acme = budgets(day, micros_per_day=100, micros_per_minute=50)
    acme.open("acme").settle(50)
    assert acme.objection("acme", S, 1) is not None
    day.now += timedelta(seconds=30)
    assert acme.objection("acme", S, 50) is None
    held = acme.open("acme")
    assert held.cover(S, 40)
    day.now += timedelta(days=1)
    assert acme.objection("acme", S, 11) is not None
    assert acme.objection("acme", S, 10) is None
    held.settle(1)
    assert acme.objection("acme", S, 49) is None


def test_the_top_tier_has_its_share() -> None:
    """Of the day's budget; others may use the rest."""
    acme = budgets(micros_per_day=1000, top_tier_share=0.2)
    first = acme.open("acme")
    assert first.cover(L, 200)
    quota = acme.objection("acme", L, 1)
    assert quota is not None
    assert (quota.subject, quota.limit_micros) == ("top tier's share of tenant acme", 200)
    assert acme.objection("acme", S, 800) is None
    first.settle(100, L)
    assert acme.objection("acme", L, 100) is None


def test_without_a_days_budget_the_share_is_one_of_what_was_spent() -> None:
    """From a grace on, so that there can be a first one."""
    acme = budgets(top_tier_share=0.5)
    assert acme.objection("acme", L, 50_000) is None
    assert acme.objection("acme", L, 50_001) is not None
    acme.open("acme").settle(400_000, S)
    assert acme.objection("acme", L, 200_000) is None
    assert acme.objection("acme", L, 200_001) is not None


def test_a_price_that_is_not_known_is_paid_by_no_budget() -> None:
    """But by one that has no limit; an unknown bill takes all that was set aside."""
    acme = budgets(micros_per_day=1000)
    assert acme.objection("acme", S, None) is not None
    assert not acme.open("acme").cover(S, None)
    reservation = acme.open("acme")
    assert reservation.cover(S, 300)
    reservation.settle(None)
    assert acme.objection("acme", S, 701) is not None


def test_a_reservation_is_settled_once() -> None:
    """A second time changes nothing."""
    acme = budgets(micros_per_day=1000)
    reservation = acme.open("acme")
    reservation.settle(100)
    reservation.settle(100)
    assert acme.objection("acme", S, 900) is None


def test_who_has_no_budget_has_no_limit_unless_there_is_a_default() -> None:
    """The default is each tenant's own."""
    day = Day()
    assert budgets(day).open("other").cover(L, 10**12)
    common = TenantBudgets({}, day, BudgetLimits(micros_per_day=10))
    assert common.open("a").cover(S, 10)
    assert common.open("b").cover(S, 10)
    assert Unlimited().objection("x", L, None) is None
    assert Unlimited().open("x").has_money()


def test_what_was_spent_before_a_restart_is_taken_over() -> None:
    """From the ledger."""
    acme = budgets(micros_per_day=1000, top_tier_share=0.5)
    acme.restore("acme", 900, 450)
    acme.restore("nobody", 900, 450)
    assert acme.objection("acme", S, 101) is not None
    assert acme.objection("acme", L, 51) is not None
    assert "900 micro-dollars spent today" in repr(acme)


def test_no_money_left_is_told() -> None:
    """A paid analysis may then not be made."""
    acme = budgets(micros_per_day=10)
    assert acme.open("acme").has_money()
    acme.open("acme").settle(10)
    assert not acme.open("acme").has_money()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(Tier), st.integers(0, 60), st.floats(0.0, 1.0), st.booleans()), max_size=40),
    st.integers(0, 200),
)
def test_spending_never_passes_the_limit(calls: list[tuple[Tier, int, float, bool]], limit: int) -> None:
    """Whatever is set aside and settled in whatever order, as long as nobody spends more than was set aside."""
    acme = budgets(micros_per_day=limit)
    spent, under_way = 0, list[tuple[Reservation, int]]()
    for tier, worst, share, settle_first in calls:
        if settle_first and under_way:
            reservation, actual = under_way.pop(0)
            reservation.settle(actual)
            spent += actual
        reservation = acme.open("acme")
        if reservation.cover(tier, worst):
            under_way.append((reservation, int(worst * share)))
    for reservation, actual in under_way:
        reservation.settle(actual)
        spent += actual
    assert spent <= limit
    assert f"{spent} micro-dollars spent today, 0 set aside" in repr(acme) or not calls


def test_metrics_name_the_tenants_of_the_configuration_alone() -> None:
    """With the share of the day that is spent; whoever has the default limits stays out of the labels."""
    limits = BudgetLimits(micros_per_day=100)
    tenants = TenantBudgets({"acme": limits}, lambda: datetime(2026, 5, 4, tzinfo=UTC), default=limits)
    for tenant in ("acme", "somebody"):
        tenants.open(tenant).settle(25)
    assert tenants.day_shares() == {"acme": 0.25}
