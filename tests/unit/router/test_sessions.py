"""A session remembers how high it has come, for an hour after its last use."""

from router.fakes import ManualClock
from router.request import Tier
from router.sessions import SessionLimits, Sessions


def test_a_session_never_goes_down() -> None:
    """It keeps the highest tier."""
    sessions = Sessions(clock=ManualClock())
    sessions.used("acme", "s", Tier.LARGE)
    sessions.used("acme", "s", Tier.SMALL)
    assert sessions.tier("acme", "s") is Tier.LARGE


def test_it_lasts_an_hour_from_its_last_use() -> None:
    """Each use begins the hour anew; then it is over, and starts at the bottom."""
    clock = ManualClock()
    sessions = Sessions(clock=clock)
    sessions.used("acme", "s", Tier.LARGE)
    clock.advance(3599)
    sessions.used("acme", "s", Tier.SMALL)
    clock.advance(3600)
    assert sessions.tier("acme", "s") is Tier.LARGE
    clock.advance(1)
    assert sessions.tier("acme", "s") is None
    sessions.used("acme", "s", Tier.SMALL)
    assert sessions.tier("acme", "s") is Tier.SMALL


def test_tenants_share_nothing() -> None:
    """The same name is another session."""
    sessions = Sessions(clock=ManualClock())
    sessions.used("acme", "s", Tier.LARGE)
    assert sessions.tier("other", "s") is None


def test_no_name_is_no_session() -> None:
    """Requests without a session don't meet in one."""
    sessions = Sessions(clock=ManualClock())
    sessions.used("acme", "", Tier.LARGE)
    assert sessions.tier("acme", "") is None


def test_it_is_bounded_and_forgets_the_longest_unused() -> None:
    """Memory does not grow with names."""
    sessions = Sessions(SessionLimits(count_max=2), ManualClock())
    for name in ("a", "b"):
        sessions.used("acme", name, Tier.MEDIUM)
    sessions.used("acme", "a", Tier.MEDIUM)
    sessions.used("acme", "c", Tier.MEDIUM)
    assert [sessions.tier("acme", name) for name in "abc"] == [Tier.MEDIUM, None, Tier.MEDIUM]
    assert repr(sessions) == "<Sessions 2 of at most 2>"


def test_what_is_over_is_dropped() -> None:
    """Not only hidden."""
    clock = ManualClock()
    sessions = Sessions(clock=clock)
    for number in range(10):
        sessions.used("acme", str(number), Tier.MEDIUM)
    clock.advance(3601)
    sessions.used("acme", "new", Tier.MEDIUM)
    assert repr(sessions) == "<Sessions 1 of at most 100000>"
