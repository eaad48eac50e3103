"""The policy picks the cheapest tier that will do, says why, and keeps its order of precedence."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from router.abilities import success_at
from router.analysis import Rung, SkippedRung, SkipReason
from router.cascade import Finding
from router.decision import Cause, Decision, Exclusion
from router.facts import Facts, TierOption
from router.fakes import an_analysis
from router.policy import Policy, plan
from router.request import Constraints, Tier
from servicekit.errors import FailedPrecondition, QuotaViolation, ResourceExhausted, Unavailable

S, M, L = Tier.SMALL, Tier.MEDIUM, Tier.LARGE
POLICY = Policy("p-1")
EASY = an_analysis(0.93, 0.94, 0.95)
MIDDLING = an_analysis(0.5, 0.9, 0.93)
HARD = an_analysis(0.2, 0.5, 0.9)
UNSURE = replace(EASY, confidence=0.1)
QUOTA = QuotaViolation("daily budget of tenant acme", 900, 1000, 60.0)


def options(
    costs: tuple[int | None, int | None, int | None] = (1, 10, 100), **fields: object
) -> tuple[TierOption, ...]:
    """Returns three tiers; a field names the tiers that lack it."""
    return tuple(
        TierOption(tier, cost, **{name: tier not in lacking for name, lacking in fields.items()})  # type: ignore[arg-type,operator]
        for tier, cost in zip(Tier, costs, strict=True)
    )


def facts(analysis: object = EASY, constraints: Constraints | None = None, **fields: object) -> Facts:
    """Returns facts about an easy prompt unless told."""
    given_options = fields.pop("options", options())
    return Facts(Finding(analysis), given_options, constraints or Constraints(), **fields)  # type: ignore[arg-type]


def decide(analysis: object = EASY, constraints: Constraints | None = None, **fields: object) -> Decision:
    """Returns the decision on such facts."""
    return plan(facts(analysis, constraints, **fields), POLICY)


@pytest.mark.parametrize(("analysis", "tier"), [(EASY, S), (MIDDLING, M), (HARD, L)])
def test_the_cheapest_tier_that_will_do(analysis: object, tier: Tier) -> None:
    """Reaching 95 % of the best one's success is enough."""
    decision = decide(analysis)
    assert (decision.tier, decision.cause) == (tier, Cause.QUALITY_TARGET)
    assert decision.explanation.startswith(f"{tier.name} is the cheapest allowed tier whose predicted success")


def test_cheap_is_by_price_not_by_name() -> None:
    """A stronger tier that costs less is taken."""
    assert decide(EASY, options=options((50, 10, 100))).tier is M
    assert decide(EASY, options=options((50, None, 1))).tier is S, "with an unknown price, the weakest that will do"


def test_without_analysis_the_default_tier() -> None:
    """And the reasons of all rungs are in the explanation."""
    skipped = (SkippedRung(Rung.SELF_HOSTED, SkipReason.TIMEOUT), SkippedRung(Rung.CLOUD_TINY, SkipReason.DISABLED))
    decision = plan(Facts(Finding(None, skipped), options(), Constraints()), POLICY)
    assert (decision.tier, decision.cause) == (M, Cause.DEFAULT)
    assert decision.explanation == (
        "MEDIUM, because there is no analysis to choose by (self-hosted analyzer: timeout, cloud tiny model: disabled)."
    )
    assert decision.skipped_rungs == skipped


def test_the_default_stays_inside_the_constraints() -> None:
    """The nearest allowed tier, upwards when in doubt."""
    assert decide(None, Constraints(min_tier=L)).tier is L
    assert decide(None, Constraints(max_tier=S)).tier is S
    assert decide(None, options=options(fits={M})).tier is L


def test_an_unsure_analysis_goes_one_tier_up() -> None:
    """But never out of the allowed ones."""
    assert (decide(UNSURE).tier, decide(UNSURE).cause) == (M, Cause.LOW_CONFIDENCE)
    assert decide(UNSURE).explanation == "MEDIUM, one tier above SMALL, because the analysis is only 10% sure."
    assert decide(UNSURE, options=options(fits={M})).tier is L
    top = decide(replace(HARD, confidence=0.0))
    assert (top.tier, top.cause) == (L, Cause.QUALITY_TARGET)


PRECEDENCE = {
    "constraint over budget": (HARD, {"constraints": Constraints(max_tier=S), "lacking": {L}}, S, Cause.CONSTRAINT),
    "constraint over session": (EASY, {"constraints": Constraints(max_tier=S), "session": L}, S, Cause.CONSTRAINT),
    "constraint over doubt": (UNSURE, {"constraints": Constraints(max_tier=S)}, S, Cause.CONSTRAINT),
    "constraint over analysis": (EASY, {"constraints": Constraints(min_tier=L)}, L, Cause.CONSTRAINT),
    "constraint over default": (None, {"constraints": Constraints(min_tier=L)}, L, Cause.CONSTRAINT),
    "window over budget": (EASY, {"unfit": {S}, "lacking": {L}}, M, Cause.CONSTRAINT),
    "window over session": (EASY, {"unfit": {L}, "session": L}, M, Cause.CONSTRAINT),
    "window over doubt": (UNSURE, {"unfit": {M, L}}, S, Cause.CONSTRAINT),
    "window over analysis": (EASY, {"unfit": {S, M}}, L, Cause.CONSTRAINT),
    "budget over session": (EASY, {"lacking": {M, L}, "session": L}, S, Cause.BUDGET),
    "budget over doubt": (UNSURE, {"lacking": {M, L}}, S, Cause.BUDGET),
    "budget over analysis": (HARD, {"lacking": {L}}, M, Cause.BUDGET),
    "budget over default": (None, {"lacking": {M, L}}, S, Cause.BUDGET),
    "session over doubt": (UNSURE, {"session": L}, L, Cause.SESSION),
    "session over analysis": (EASY, {"session": M}, M, Cause.SESSION),
    "session over default": (None, {"session": L}, L, Cause.SESSION),
    "doubt over analysis": (UNSURE, {}, M, Cause.LOW_CONFIDENCE),
    "what would have come out anyway is not the cause": (MIDDLING, {"session": M}, M, Cause.QUALITY_TARGET),
    "of two that forbid the same the stronger is the cause": (
        HARD,
        {"constraints": Constraints(max_tier=M), "lacking": {L}},
        M,
        Cause.CONSTRAINT,
    ),
    "of doubt and session that lift alike the session is the cause": (UNSURE, {"session": M}, M, Cause.SESSION),
    "doubt goes up from what the constraints leave": (
        UNSURE,
        {"constraints": Constraints(min_tier=M)},
        L,
        Cause.CONSTRAINT,
    ),
}


@pytest.mark.parametrize("name", PRECEDENCE)
def test_precedence(name: str) -> None:
    """Caller's constraints and context window > budget > session > low confidence > analysis."""
    analysis, what, tier, cause = PRECEDENCE[name]
    decision = decide(
        analysis,
        what.get("constraints"),  # type: ignore[attr-defined]
        options=options(fits=what.get("unfit", set()), affordable=what.get("lacking", set())),  # type: ignore[attr-defined]
        session_tier=what.get("session"),  # type: ignore[attr-defined]
        quota=QUOTA,
    )
    assert (decision.tier, decision.cause) == (tier, cause), decision.explanation


def test_every_tier_is_considered_with_the_strongest_reason_against_it() -> None:
    """An answer explains itself."""
    decision = decide(
        MIDDLING,
        Constraints(max_tier=M),
        options=options(affordable={S, L}),
        session_tier=M,
        price_revision="prices-7",
    )
    assert [(each.tier, each.excluded_by) for each in decision.considered] == [
        (S, Exclusion.BUDGET),
        (M, None),
        (L, Exclusion.MAX_TIER),
    ]
    assert [each.predicted_success for each in decision.considered] == [0.5, 0.9, 0.93]
    assert [each.estimated_cost_micros for each in decision.considered] == [1, 10, 100]
    assert (decision.policy_revision, decision.price_revision) == ("p-1", "prices-7")


@pytest.mark.parametrize(
    ("constraints", "fields", "because"),
    [
        (Constraints(min_tier=L), {}, "LARGE instead of SMALL, because the caller's min_tier rules out SMALL."),
        (Constraints(min_tier=M), {"analysis": UNSURE}, "because the caller's min_tier rules out SMALL."),
        (
            Constraints(max_tier=M),
            {"analysis": an_analysis(0.87, 0.91, 0.95)},
            "SMALL instead of MEDIUM, because the caller's max_tier rules out LARGE.",
        ),
        (Constraints(max_cost_micros=50), {"analysis": HARD}, "LARGE costs more than the caller's max_cost"),
        (None, {"options": options(fits={S})}, "the prompt does not fit into the context window of SMALL"),
        (None, {"options": options(affordable={S})}, "the tenant's budget does not pay for SMALL"),
        (None, {"session_tier": M}, "the session has already gone above SMALL"),
    ],
)
def test_the_explanation_names_what_settled_it(
    constraints: Constraints | None, fields: dict[str, object], because: str
) -> None:
    """One plain sentence."""
    sentence = decide(constraints=constraints, **fields).explanation
    assert because in sentence
    assert sentence.endswith(".")


def test_an_unknown_price_is_not_nothing() -> None:
    """Whoever bounds the cost does not get a tier of unknown price."""
    decision = decide(HARD, Constraints(max_cost_micros=50), options=options((1, 10, None)))
    assert decision.tier is M
    assert decision.considered[2].excluded_by is Exclusion.MAX_COST
    assert decide(HARD, options=options((1, 10, None))).tier is L


def test_a_tier_without_a_backend_that_takes_calls_is_passed_by() -> None:
    """Its breakers are open."""
    decision = decide(EASY, options=options(takes_calls={S}))
    assert decision.tier is M
    assert decision.considered[0].excluded_by is Exclusion.NO_BACKEND


def test_when_nothing_is_allowed_the_error_names_what_forbids_each_tier() -> None:
    """The caller can tell which constraint to lift."""
    with pytest.raises(FailedPrecondition) as caught:
        decide(constraints=Constraints(min_tier=M, max_cost_micros=5))
    assert caught.value.reason == "NO_TIER_ALLOWED"
    assert caught.value.message == (
        "No tier is allowed: the caller's min_tier rules out SMALL; MEDIUM costs more than the caller's max_cost, or "
        "its price is not known; LARGE costs more than the caller's max_cost, or its price is not known."
    )


def test_when_the_budget_pays_for_nothing_the_error_carries_the_quota() -> None:
    """Which, spent, limit, reset."""
    with pytest.raises(ResourceExhausted) as caught:
        decide(options=options(affordable={S, M, L}), quota=QUOTA)
    assert caught.value.quota == QUOTA
    assert caught.value.retry_after_seconds is None


def test_when_no_backend_takes_calls_that_is_no_fault_of_the_caller() -> None:
    """Another time."""
    with pytest.raises(Unavailable):
        decide(options=options(takes_calls={S, M, L}))


def test_a_callers_quality_target_replaces_the_policys() -> None:
    """Down and up."""
    assert decide(MIDDLING, Constraints(quality_target=0.5)).tier is S
    assert decide(MIDDLING, Constraints(quality_target=1.0)).tier is L
    assert decide(EASY, Constraints(quality_target=1.0), options=options()).tier is L


def test_recalibration_has_the_last_word_on_success() -> None:
    """Outcomes say that the small tier is no good at this."""
    policy = replace(POLICY, recalibrate=lambda tier, _task, predicted: 0.1 if tier is S else predicted)
    assert plan(facts(EASY), policy).tier is M


@pytest.mark.parametrize(
    ("ability", "success"), [(0.0, 0.2), (0.5, 0.35), (1.0, 0.5), (1.5, 0.7), (2.0, 0.9), (-1.0, 0.2), (3.0, 0.9)]
)
def test_success_lies_on_straight_lines_between_reference_abilities(ability: float, success: float) -> None:
    """A tier may be placed anywhere between them."""
    assert success_at(ability, (0.2, 0.5, 0.9)) == pytest.approx(success)


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
"""Much of what is drawn leaves no tier, and machines of tests are slow."""

probabilities = st.floats(0.0, 1.0)
analyses = st.builds(
    lambda success, confidence: an_analysis(*sorted(success), confidence=confidence),
    st.tuples(probabilities, probabilities, probabilities),
    probabilities,
)
prices = st.tuples(*[st.one_of(st.none(), st.integers(0, 1000))] * 3)
tier_sets = st.sets(st.sampled_from(Tier))
some_facts = st.builds(
    lambda analysis, constraints, costs, unfit, lacking, shut, session: Facts(
        Finding(analysis),
        options(costs, fits=unfit, affordable=lacking, takes_calls=shut),
        constraints,
        session,
        quota=QUOTA,
    ),
    st.one_of(st.none(), analyses),
    st.builds(
        Constraints,
        min_tier=st.one_of(st.none(), st.sampled_from(Tier)),
        max_tier=st.one_of(st.none(), st.sampled_from(Tier)),
        max_cost_micros=st.one_of(st.none(), st.integers(0, 1000)),
        quality_target=st.one_of(st.none(), st.floats(0.01, 1.0)),
    ),
    prices,
    tier_sets,
    tier_sets,
    tier_sets,
    st.one_of(st.none(), st.sampled_from(Tier)),
)


def decision_on(known: Facts) -> Decision:
    """Returns the decision; discards facts on which there is none."""
    try:
        return plan(known, POLICY)
    except (FailedPrecondition, ResourceExhausted, Unavailable):
        assume(condition=False)
        raise


@unhurried
@given(some_facts)
def test_the_chosen_tier_is_allowed_whatever_is_known(known: Facts) -> None:
    """No rule leads out of the constraints, the budget or what takes calls."""
    decision = decision_on(known)
    chosen = next(each for each in decision.considered if each.tier is decision.tier)
    assert chosen.allowed
    assert len(decision.considered) == 3
    assert decision.explanation.endswith(".")
    assert "because ." not in decision.explanation


@unhurried
@given(some_facts, st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_higher_target_never_picks_a_lower_tier(known: Facts, one: float, other: float) -> None:
    """Asking for more never gets less."""
    low, high = sorted((one, other))
    tiers = [
        decision_on(replace(known, constraints=replace(known.constraints, quality_target=target))).tier
        for target in (low, high)
    ]
    assert tiers[0] <= tiers[1]


@unhurried
@given(some_facts, st.sampled_from(Tier))
def test_a_session_never_moves_a_request_down(known: Facts, session: Tier) -> None:
    """Having reached a tier only ever lifts."""
    without = decision_on(replace(known, session_tier=None)).tier
    assert decision_on(replace(known, session_tier=session)).tier >= without


@unhurried
@given(some_facts)
def test_doubt_never_moves_a_request_down(known: Facts) -> None:
    """When in doubt, quality wins over cost."""
    analysis = known.finding.analysis
    assume(analysis is not None)
    sure, unsure = (replace(known, finding=Finding(replace(analysis, confidence=value))) for value in (1.0, 0.0))
    assert decision_on(unsure).tier >= decision_on(sure).tier


@unhurried
@given(some_facts)
def test_the_same_facts_give_the_same_decision(known: Facts) -> None:
    """It is a function."""
    assert decision_on(known) == decision_on(known)
