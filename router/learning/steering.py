"""Policies in use: which one serves, how a new one comes to serve, and how one that disappoints is left."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from router.learning.ports import Policies, Records, Serving
from router.learning.proposing import Objective, ProposalSettings, propose
from router.learning.versions import State, Version, version_of
from router.learning.watching import Promise, Watch
from router.policy import Policy
from router.ports import WallClock
from router.request import Tier
from servicekit.errors import FailedPrecondition, NotFound, Unavailable

log = logging.getLogger(__name__)

ROLLED_BACK = "Rolled back by an operator."


@dataclass(frozen=True)
class Configured:
    """What the configuration says: its own policy, and the tiers that have a backend, weakest first."""

    policy: Policy
    tiers: tuple[Tier, ...]
    since: str = ""


class Steering:
    """One router's view of the policies that all routers of a store share."""

    def __init__(
        self,
        policies: Policies,
        records: Records,
        configured: Callable[[], Configured],
        now: WallClock,
        settings: ProposalSettings | None = None,
    ) -> None:
        self._policies = policies
        self._records = records
        self._configured = configured
        self._now = now
        self._settings = settings or ProposalSettings()
        self._serving: Serving | None = None
        self._known: tuple[Policy, Serving, Policy] | None = None

    def __repr__(self) -> str:
        return f"Steering(by {self.policy().revision})"

    def policy(self) -> Policy:
        """Returns the policy that serves, as far as this router knows."""
        return self.instead_of(self._configured().policy)

    def instead_of(self, own: Policy) -> Policy:
        """Returns the policy that serves in place of a configuration's own. Asked with every request."""
        if self._serving is None:
            return own
        if self._known is None or self._known[0] is not own or self._known[1] is not self._serving:
            self._known = (own, self._serving, _over(own, self._serving.version.policy))
        return self._known[2]

    def current(self) -> Version:
        """Returns the version that serves."""
        if self._serving is None:
            configured = self._configured()
            return Version(configured.policy, State.CONFIGURED, configured.since)
        return self._serving.version

    async def follow(self) -> None:
        """Goes by what the store says now. Raises Unavailable, and goes by the last it said then."""
        serving = await asyncio.to_thread(self._policies.serving)
        if revision(serving) != revision(self._serving):
            log.info("another policy serves: %s", revision(serving) or "the configuration's own")
        if _turn(serving) != _turn(self._serving):
            self._serving = serving

    async def find(self, name: str) -> Version:
        """Returns a version by its revision, or the one that serves for an empty name; raises NotFound."""
        await self.follow()
        if name in {"", self.current().policy.revision}:
            return self.current()
        found = await asyncio.to_thread(self._policies.get, name)
        if found is None:
            raise NotFound("POLICY_NOT_FOUND", f"There is no policy of the revision {name}.")
        return found

    async def propose(self, objective: Objective) -> Version:
        """Returns a new version fitted to what was recorded. Raises FailedPrecondition when that is too little."""
        await self.follow()
        if objective.mean_cost_micros is not None:
            objective = replace(objective, quality_target=self.current().objective.quality_target)
        return await asyncio.to_thread(self._propose, objective)

    def _propose(self, objective: Objective) -> Version:
        evidence = self._records.evidence(self._configured().tiers)
        now = self._now()
        name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        proposal = propose(evidence, self.policy(), objective, name, self._settings)
        version = version_of(proposal, evidence, now.isoformat())
        self._policies.put(version)
        return version

    async def promote(self, name: str) -> Version:
        """Makes a version serve. Raises NotFound, and FailedPrecondition when it failed its check."""
        found = await asyncio.to_thread(self._policies.get, name)
        if found is None:
            raise NotFound("POLICY_NOT_FOUND", f"There is no policy of the revision {name}.")
        if found.check is not None and not found.check.passed:
            raise FailedPrecondition(
                "HELD_OUT_CHECK_FAILED",
                f"On {found.check.outcomes} outcomes it was not fitted to, {name} predicts worse than the policy "
                f"before it: mean squared error {found.check.error:.4f} after {found.check.error_before:.4f}.",
            )
        await asyncio.to_thread(self._policies.promote, name, self._now().isoformat())
        await self.follow()
        return self.current()

    async def rollback(self) -> Version:
        """Goes back one version. Raises FailedPrecondition when there is none to go back to."""
        if not await asyncio.to_thread(self._policies.rollback, self._now().isoformat(), ROLLED_BACK):
            raise FailedPrecondition("NO_POLICY_BEFORE", "The configuration's own policy serves: there is none before.")
        await self.follow()
        return self.current()

    async def inspect(self) -> str:
        """Leaves the serving version if quality fell below what it promised; returns why, empty when it did not."""
        serving = self._serving
        if serving is None:
            return ""
        alarm = await asyncio.to_thread(self._alarm, serving)
        if alarm:
            name, now = serving.version.policy.revision, self._now().isoformat()
            left = await asyncio.to_thread(self._policies.rollback, now, alarm, name)
            log.warning("policy %s %s: %s", name, "left" if left else "was left by another router", alarm)
            await self.follow()
        return alarm

    def _alarm(self, serving: Serving) -> str:
        tiers = self._configured().tiers
        evidence = self._records.received(tiers, serving.since)
        version = serving.version
        watch = Watch(_over(self._configured().policy, version.policy), tiers, promise(version))
        watch.pairs(evidence.pairs)
        watch.outcomes(evidence.outcomes)
        return watch.alarm()


def promise(version: Version) -> Promise:
    """Returns what a version is held to: what pairs showed of it, else what it was fitted for.

    One that was fitted for a cost, without pairs to go by, has promised no share of the top tier's quality.
    """
    if version.failure_bound is not None:
        return Promise(1.0 - version.failure_bound, version.reported_quality)
    target = version.objective.quality_target if version.objective.mean_cost_micros is None else 0.0
    return Promise(target, version.reported_quality)


async def keep_following(steering: Steering, seconds: float, inspect_every: int) -> None:
    """Follows the store at intervals until cancelled, and inspects the serving policy every so many of them."""
    turn = 0
    while True:
        turn += 1
        try:
            await steering.follow()
            if turn % inspect_every == 0:
                await steering.inspect()
        except Unavailable as error:
            log.warning("policies can't be followed, the last one known serves on: %s", error.message)
        await asyncio.sleep(seconds)


def revision(serving: Serving | None) -> str:
    """Returns the revision that serves; empty for the configuration's own."""
    return "" if serving is None else serving.version.policy.revision


def _turn(serving: Serving | None) -> tuple[str, str]:
    """Returns what tells one time of serving from another."""
    return ("", "") if serving is None else (revision(serving), serving.since)


def _over(own: Policy, promoted: Policy) -> Policy:
    """Returns a promoted policy that knows a place for every tier configured since, too."""
    return replace(promoted, abilities={**own.abilities, **promoted.abilities})
