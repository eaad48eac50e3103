"""A share of requests is answered once more, off the request path, billed and judged."""

import asyncio
import random
from dataclasses import dataclass, field, replace

import pytest

from router.answer import Answer, Cost, FinishReason, Timings, Usage
from router.decision import Cause, Decision, TierEstimate
from router.fakes import RecordingObserver, a_request, an_analysis
from router.learning.judging import agreement
from router.learning.shadowed import ShadowedRouter
from router.learning.shadowing import Compared, Shadows, ShadowSettings
from router.observer import Fault, ShadowJudged
from router.request import Constraints, RouteRequest, Tier
from servicekit.deadline import Deadline


def an_answer(tier: Tier = Tier.SMALL, text: str = "Paris", **changes: object) -> Answer:
    """A whole answer of a tier."""
    decision = Decision(
        tier=tier,
        cause=Cause.QUALITY_TARGET,
        considered=tuple(TierEstimate(each, 0.9, 100) for each in Tier),
        explanation="",
        analysis=an_analysis(),
        skipped_rungs=(),
        policy_revision="v1",
        price_revision="p1",
    )
    made = Answer("r-1", text, FinishReason.STOP, decision, (), Usage(1, 1), Cost(0), Timings(0.0))
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class FakeArm:
    """Answers by tier; None and errors as scripted."""

    texts: dict[Tier, str | Exception | None] = field(default_factory=dict)
    asked: list[Tier] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def __call__(self, _request: RouteRequest, _answer: Answer, tier: Tier) -> str | None:
        """Returns the tier's text."""
        self.asked.append(tier)
        if self.gate is not None:
            await self.gate.wait()
        text = self.texts.get(tier, "Paris")
        if isinstance(text, Exception):
            raise text
        return text


@dataclass
class ListPairs:
    """Keeps pairs in a list."""

    kept: list[Compared] = field(default_factory=list)

    async def put_pair(self, pair: Compared) -> None:
        """Keeps it."""
        self.kept.append(pair)


def shadows(*draws: float, share: float = 1.0, concurrent: int = 4) -> Shadows:
    """Shadows that draw as scripted."""
    left = iter(draws)
    settings = ShadowSettings(share, concurrent)
    return Shadows(ListPairs(), agreement, RecordingObserver(), settings, random=lambda: next(left))


@pytest.mark.parametrize(
    ("link", "served", "asked"),
    [
        (0.0, Tier.SMALL, [Tier.MEDIUM]),
        (0.0, Tier.MEDIUM, [Tier.SMALL]),
        (0.9, Tier.MEDIUM, [Tier.LARGE]),
        (0.9, Tier.SMALL, [Tier.MEDIUM, Tier.LARGE]),
    ],
)
async def test_the_neighbours_drawn_are_asked_unless_they_answered(
    link: float, served: Tier, asked: list[Tier]
) -> None:
    """The pair is kept with its judgement."""
    arm = FakeArm({Tier.MEDIUM: "Paris", Tier.LARGE: "Lyon"})
    made = shadows(0.0, link)
    made.consider(a_request(), an_answer(served), arm)
    await made.idle()
    assert arm.asked == asked
    (pair,) = made.pairs.kept
    assert (pair.lower, pair.upper) == ((Tier.SMALL, Tier.MEDIUM) if link == 0.0 else (Tier.MEDIUM, Tier.LARGE))
    assert (pair.lower_score, pair.upper_score) == (1.0 if link == 0.0 else 0.0, 1.0)
    assert (pair.tenant, pair.request_id, pair.policy_revision) == ("acme", "r-1", "v1")


async def test_the_share_drawn_is_the_share_configured() -> None:
    """Uniformly, whatever the tier."""
    draw = random.Random(5)
    made = Shadows(ListPairs(), agreement, RecordingObserver(), ShadowSettings(0.1, 10_000), random=draw.random)
    for _ in range(4000):
        made.consider(a_request(), an_answer(), FakeArm())
    await made.idle()
    assert made.drawn == pytest.approx(400, abs=60)
    lower = [pair.lower for pair in made.pairs.kept]
    assert lower.count(Tier.SMALL) == pytest.approx(len(lower) / 2, abs=40)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (a_request(constraints=Constraints(min_tier=Tier.LARGE)), an_answer()),
        (a_request(), an_answer(finish_reason=FinishReason.LENGTH)),
        (a_request(), an_answer(decision=replace(an_answer().decision, cause=Cause.SESSION))),
        (a_request(), an_answer(decision=replace(an_answer().decision, analysis=None))),
    ],
    ids=["constrained", "cut off", "session", "no analysis"],
)
async def test_what_the_policy_did_not_choose_is_not_compared(request_: RouteRequest, answer: Answer) -> None:
    """Nor what is no whole answer."""
    made = shadows(0.0)
    made.consider(request_, answer, FakeArm())
    assert made.drawn == 0


@pytest.mark.parametrize("text", [None, "word " * 100])
async def test_what_cannot_be_judged_is_counted_and_not_kept(text: str | None) -> None:
    """No answer, or a long one."""
    made = shadows(0.0, 0.0)
    made.consider(a_request(), an_answer(), FakeArm({Tier.MEDIUM: text}))
    await made.idle()
    assert (made.undecided, made.kept) == (1, 0)


async def test_a_failing_arm_is_a_fault_and_no_more() -> None:
    """The observer hears of it."""
    made = shadows(0.0, 0.0)
    made.consider(a_request(), an_answer(), FakeArm({Tier.MEDIUM: RuntimeError("broken")}))
    await made.idle()
    await asyncio.sleep(0)
    assert isinstance(made.observer, RecordingObserver)
    assert [fact.where for fact in made.observer.of(Fault)] == ["shadow"]


async def test_too_many_at_a_time_are_left_out_and_close_ends_the_rest() -> None:
    """Callers never wait for shadows."""
    made = shadows(*[0.0] * 9, concurrent=2)
    for _ in range(4):
        made.consider(a_request(), an_answer(), FakeArm(gate=asyncio.Event()))
    assert (made.drawn, made.left_out) == (4, 2)
    await made.close()
    assert made.kept == 0


class OneAnswer:
    """A router with one answer to everything."""

    async def route(self, _request: RouteRequest, _deadline: Deadline) -> Answer:
        """Returns it."""
        return an_answer()

    async def stream(self, _request: RouteRequest, _deadline: Deadline):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Yields it in pieces."""
        yield an_answer().decision
        yield "Paris"
        yield an_answer()

    async def decide(self, _request: RouteRequest, _deadline: Deadline) -> str:
        """Decides nothing."""
        return "preview"


async def test_routed_and_streamed_answers_are_considered_and_decisions_are_not() -> None:
    """The wrapped router's callers see what the router says."""
    made = shadows(*[0.0] * 9)
    router = ShadowedRouter(OneAnswer(), made, FakeArm())  # type: ignore[arg-type]
    deadline = Deadline.after(1.0)
    assert (await router.route(a_request(), deadline)).text == "Paris"
    assert [event async for event in router.stream(a_request(), deadline)][1] == "Paris"
    assert await router.decide(a_request(), deadline) == "preview"
    await made.idle()
    assert made.drawn == made.kept == 2


async def test_a_comparison_is_told_to_whoever_watches() -> None:
    """With what came of it."""
    made = shadows(0.0, 0.0)
    made.consider(a_request(), an_answer(), FakeArm())
    await made.idle()
    assert isinstance(made.observer, RecordingObserver)
    (told,) = made.observer.of(ShadowJudged)
    (pair,) = made.pairs.kept
    assert (told.request_id, told.lower, told.upper) == (pair.request_id, pair.lower, pair.upper)
    assert told.score == pair.lower_score
