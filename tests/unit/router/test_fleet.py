"""Backends share a tier by weight, and answers fit into their windows."""

from collections import Counter
from random import Random

import pytest

from router.breaker import Breaker
from router.fakes import FakeBackend
from router.fleet import Fleet, Guarded
from router.request import Tier


def guarded(name: str, **fields: object) -> Guarded:
    """Returns a backend behind a closed breaker."""
    return Guarded(FakeBackend(name=name, **fields), Breaker(name))  # type: ignore[arg-type]


def test_each_backend_comes_first_as_often_as_its_weight_says() -> None:
    """Three to one."""
    fleet = Fleet((guarded("a", weight=3.0), guarded("b", weight=1.0)), Random(7).random)
    first = Counter(fleet.drawn(Tier.SMALL)[0].backend.name for _ in range(4000))
    assert first["a"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_draw_has_every_backend_of_the_tier_once() -> None:
    """The rest are the siblings to go to next."""
    members = (*(guarded(name) for name in "abcd"), guarded("m", tier=Tier.MEDIUM))
    drawn = Fleet(members, Random(7).random).drawn(Tier.SMALL)
    assert sorted(member.backend.name for member in drawn) == list("abcd")


@pytest.mark.parametrize(
    ("prompt", "wanted", "room"),
    [
        (100, None, 500),
        (600, None, 400),
        (744, None, 256),
        (745, None, None),
        (100, 900, 900),
        (100, 901, None),
        (2000, None, None),
        (2000, 1, None),
    ],
)
def test_prompt_and_answer_share_the_window(prompt: int, wanted: int | None, room: int | None) -> None:
    """What the caller wants has to fit whole; else the answer takes what is left, if that is enough."""
    assert guarded("a", context_window=1000, max_output_tokens=500).room(prompt, wanted) == room


def test_a_short_default_needs_no_more_room_than_it_takes() -> None:
    """A backend of short answers is not ruled out for lack of room it would not use."""
    assert guarded("a", context_window=100, max_output_tokens=50).room(50, None) == 50


def test_the_top_model_is_the_strongest_tiers_favourite() -> None:
    """What the saving is counted against."""
    members = (
        guarded("s", model="s", weight=9.0),
        guarded("l1", tier=Tier.LARGE, model="rare"),
        guarded("l2", tier=Tier.LARGE, model="often", weight=2.0),
    )
    assert Fleet(members).top_model() == "often"
    assert Fleet(()).top_model() is None
    assert Fleet(members).tiers() == (Tier.SMALL, Tier.LARGE)
