"""The rollout itself: canaries in steps, then all replicas or none.

What is done next depends on the noted progress alone, and each action may be done twice. So a process that is killed
anywhere can be started again, and goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

from analyzer.rollout.beginning import begin, rehearse
from analyzer.rollout.canaries import Canaries
from analyzer.rollout.comparing import Outcome
from analyzer.rollout.holding import EditedError, Hold, progress_of
from analyzer.rollout.manifests import Manifest, canary_replicas, delivering, delivery_image, replicas, settled, stuck
from analyzer.rollout.means import Clock, Means, RolloutSettings
from analyzer.rollout.ports import Cluster, ClusterError, Replicas
from analyzer.rollout.progress import Phase, Progress


class Rollout:
    """One process's work on one rollout. All methods raise ClusterError when the cluster does not let them go on."""

    def __init__(
        self,
        cluster: Cluster,
        replicas: Replicas,
        settings: RolloutSettings,
        say: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        clock = clock or Clock()
        hold = Hold(cluster, settings.deployment, uuid.uuid4().hex[:12], lambda: clock.sleep(settings.poll_seconds))
        self._means = Means(settings, cluster, replicas, hold, clock, say)
        self._hold = hold
        self._canaries = Canaries(self._means)

    def run(self) -> Progress:
        """Returns how it ended: PROMOTED, ROLLED_BACK or ABANDONED."""
        return self._finish(begin(self._means))

    def rehearse(self) -> None:
        """Says what `run` would do; changes nothing."""
        rehearse(self._means)

    def abort(self) -> Progress:
        """Takes an unfinished rollout back."""
        unfinished = progress_of(self._hold.read())
        if unfinished is None or unfinished.phase.over:
            raise ClusterError(f"no rollout of {self._means.settings.deployment} is under way")
        taken = self._hold.take(unfinished, expected=unfinished)
        return self._finish(taken.then(Phase.REVERTING, "taken back by hand"))

    def _finish(self, progress: Progress) -> Progress:
        actions = {
            Phase.CANARY: self._try_canaries,
            Phase.PROMOTING: self._promote,
            Phase.REVERTING: self._revert,
        }
        while not progress.phase.over:
            try:
                progress = actions[progress.phase](progress)
            except EditedError as error:
                progress = self._abandon(progress, str(error))
        return progress

    def _try_canaries(self, progress: Progress) -> Progress:
        """One step."""
        shares = self._means.settings.shares
        stable = self._hold.ours(progress)
        count = canary_replicas(replicas(stable), shares[min(progress.step, len(shares) - 1)])
        self._means.say(f"step {progress.step + 1}: canaries {count}, replicas {replicas(stable)}")
        canary = self._canaries.bring(stable, progress, count)
        verdict = self._canaries.wait_available(progress, canary) or self._canaries.watch(progress, canary, stable)
        if verdict.outcome is Outcome.FAIL:
            return self._hold.save(progress, progress.then(Phase.REVERTING, verdict.reason))
        self._means.tell(stable, "RolloutStepPassed", f"{progress.revision} passed step {progress.step + 1}")
        if progress.step + 1 < len(shares):
            return self._hold.save(progress, replace(progress, step=progress.step + 1))
        return self._hold.save(
            progress,
            progress.then(Phase.PROMOTING),
            lambda deployment: delivering(deployment, progress.image, progress.revision),
        )

    def _promote(self, progress: Progress) -> Progress:
        """All replicas have the new revision in their template: waits for them, the canaries still there to help."""
        fault = self._wait_settled(progress)
        if fault:
            return self._hold.save(progress, progress.then(Phase.REVERTING, fault))
        stable = self._hold.ours(progress)
        self._canaries.remove(stable)
        promoted = self._hold.save(progress, progress.then(Phase.PROMOTED))
        self._means.tell(stable, "RolloutPromoted", f"all replicas serve {progress.revision}")
        return promoted

    def _revert(self, progress: Progress) -> Progress:
        """Back to what was there before, wherever the rollout was."""
        stable = self._hold.ours(progress)
        self._canaries.remove(stable)
        if delivery_image(stable) != progress.previous_image:
            progress = self._hold.save(progress, progress, lambda deployment: _as_before(deployment, progress))
        fault = self._wait_settled(progress)
        if fault:
            raise ClusterError(f"{progress.previous_revision} does not come back by itself: {fault}")
        rolled_back = self._hold.save(progress, progress.then(Phase.ROLLED_BACK))
        self._means.tell(stable, "RolloutRolledBack", f"{progress.revision}: {progress.reason}", warning=True)
        return rolled_back

    def _wait_settled(self, progress: Progress) -> str:
        """Returns why the replicas don't become available; empty once they are."""
        means = self._means
        deadline = means.clock.now() + means.settings.settle_seconds
        while True:
            stable = self._hold.ours(progress)
            if settled(stable):
                return ""
            if reason := stuck(stable):
                return f"the replicas do not start: {reason}"
            if means.clock.now() > deadline:
                return f"the replicas were not available after {means.settings.settle_seconds:.0f} s"
            means.pause()

    def _abandon(self, progress: Progress, reason: str) -> Progress:
        """Somebody else knows better: the canaries go, the replicas stay as that person left them."""
        stable = self._hold.read()
        self._canaries.remove(stable)
        abandoned = self._hold.close(progress.then(Phase.ABANDONED, reason))
        self._means.tell(stable, "RolloutAbandoned", f"{progress.revision}: {reason}", warning=True)
        return abandoned


def _as_before(deployment: Manifest, progress: Progress) -> Manifest:
    return delivering(deployment, progress.previous_image, progress.previous_revision)
