"""From a plan to an answer: one backend after the other until one answers. The same for whole answers and streams."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from router.answer import Attempt, AttemptOutcome, FinishReason, Usage
from router.attempt import Call, Surroundings, Trial
from router.dispatch_failures import failure
from router.fleet import Guarded
from router.itinerary import Itinerary, tier_order
from router.planning import Plan
from router.pricing import total_micros
from router.request import RouteRequest, Tier
from router.terms import Terms
from servicekit.deadline import Deadline

Cover = Callable[[Tier, int | None], bool]
"""Raises what is reserved to a sum, before a call to a tier that could cost as much; False when it can't."""


@dataclass(frozen=True)
class DispatchLimits:
    """How long backends are waited for.

    While others are left, a backend has `first_token_share` of the time for its first token. It is blamed for missing
    it when that was `patience_seconds` or more.
    """

    first_token_share: float = 0.5
    patience_seconds: float = 5.0


@dataclass(frozen=True)
class Errand:
    """A request with its plan on its way to an answer. `whole`: nothing is given out before all of it is there."""

    request: RouteRequest
    plan: Plan
    terms: Terms
    deadline: Deadline
    whole: bool
    cover: Cover


class Journey:
    """One request's way through the backends, and what it has come to so far."""

    def __init__(self, errand: Errand, limits: DispatchLimits, surroundings: Surroundings) -> None:
        self.errand = errand
        self.trials: list[Trial] = []
        self.finish_reason = FinishReason.UNSPECIFIED
        self.answered: Attempt | None = None
        self._limits = limits
        self._around = surroundings
        decision = errand.plan.decision
        allowed = [estimate.tier for estimate in decision.considered if estimate.allowed]
        fleet = errand.terms.fleet
        tiers = tier_order(decision.tier, allowed)
        self._itinerary = Itinerary(
            [member for tier in tiers for member in fleet.drawn(tier) if self._room(member) is not None]
        )

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Returns the calls that have ended, in order."""
        return tuple(trial.result for trial in self.trials if trial.result is not None)

    @property
    def spent_micros(self) -> int | None:
        """Returns what the calls so far cost; None when a price is not known."""
        return total_micros(*(attempt.cost_micros for attempt in self.attempts))

    @property
    def text(self) -> str:
        """Returns the text of the last call."""
        return "".join(self.trials[-1].text) if self.trials else ""

    @property
    def usage(self) -> Usage:
        """Returns the tokens of the last call."""
        last = self.trials[-1].result if self.trials else None
        return (last.usage if last else None) or Usage(0, 0)

    async def texts(self) -> AsyncGenerator[str, None]:
        """Yields the answer. Raises a ServiceError when no backend gives one.

        Once a piece is given out the backend is never changed: an answer that breaks off then ends with ERROR.
        """
        while (trial := self._set_out()) is not None:
            async with aclosing(trial.texts()) as texts:
                async for text in texts:
                    if not self.errand.whole:
                        yield text
            if self._arrived(trial):
                if self.errand.whole:
                    yield self.text
                return
        raise failure(self.trials, self.errand.deadline)

    def _set_out(self) -> Trial | None:
        """Returns a call to the next backend that can be paid for and takes calls; None when there is none."""
        while not self.errand.deadline.expired() and (candidate := self._itinerary.next()) is not None:
            room = self._room(candidate)
            if room is None or not self._covered(candidate, room):
                continue
            permit = candidate.breaker.admit()
            if permit is not None:
                trial = Trial(candidate, permit, self._call(room), self._around)
                self.trials.append(trial)
                return trial
        return None

    def _room(self, candidate: Guarded) -> int | None:
        return candidate.room(self.errand.plan.prompt_tokens, self.errand.request.generation.max_output_tokens)

    def _covered(self, candidate: Guarded, room: int) -> bool:
        worst = self.errand.terms.prices.price(
            Usage(self.errand.plan.prompt_tokens, room), candidate.backend.model, self._around.now()
        )
        return self.errand.cover(candidate.backend.tier, total_micros(self.spent_micros, worst))

    def _call(self, room: int) -> Call:
        errand, deadline = self.errand, self.errand.deadline
        others = self._itinerary.has_more()
        first_token_by = deadline.share(self._limits.first_token_share) if others else deadline
        return Call(
            request=errand.request,
            prompt_tokens=errand.plan.prompt_tokens,
            max_output_tokens=room,
            first_token_by=first_token_by,
            deadline=deadline,
            fair=first_token_by.remaining() >= self._limits.patience_seconds,
            prices=errand.terms.prices,
        )

    def _arrived(self, trial: Trial) -> bool:
        """Whether the answer is there, or as much of it as there will ever be."""
        attempt = trial.result
        if attempt is None:
            return False
        if trial.finish_reason is not None:
            self.finish_reason, self.answered = trial.finish_reason, attempt
            return True
        if trial.text and not self.errand.whole:
            filtered = attempt.outcome is AttemptOutcome.CONTENT_FILTERED
            self.finish_reason = FinishReason.CONTENT_FILTER if filtered else FinishReason.ERROR
            self.answered = attempt
            return True
        self._itinerary.leave(trial.candidate, attempt.outcome)
        return False


@dataclass(frozen=True)
class Dispatcher:
    """Sends requests to backends."""

    surroundings: Surroundings
    limits: DispatchLimits = DispatchLimits()

    def start(self, errand: Errand) -> Journey:
        """Returns the way of one request through the backends, not yet set out."""
        return Journey(errand, self.limits, self.surroundings)
