"""The canary Deployment of a rollout: brought, waited for, watched, removed."""

from __future__ import annotations

from analyzer.rollout.comparing import Outcome, Verdict
from analyzer.rollout.holding import ATTEMPTS, EditedError
from analyzer.rollout.manifests import (
    Manifest,
    canary_name,
    canary_of,
    delivery_image,
    replicas,
    selector,
    settled,
    stuck,
)
from analyzer.rollout.means import Means
from analyzer.rollout.ports import ConflictError, MissingError
from analyzer.rollout.progress import Progress
from analyzer.rollout.watching import Sides, Watch


class Canaries:
    """Each method may be called again after a process was killed in it."""

    def __init__(self, means: Means) -> None:
        self._means = means

    def bring(self, stable: Manifest, progress: Progress, count: int) -> Manifest:
        """Makes the canary Deployment have so many replicas; raises EditedError when it is not this rollout's."""
        for _ in range(ATTEMPTS):
            try:
                return self._brought(stable, progress, count)
            except ConflictError:
                self._means.pause()
        raise ConflictError(f"{canary_name(stable)} changes faster than it can be written")

    def wait_available(self, progress: Progress, canary: Manifest) -> Verdict | None:
        """Returns a failure, or None once all canaries are available."""
        means, name = self._means, canary["metadata"]["name"]
        deadline = means.clock.now() + means.settings.settle_seconds
        while True:
            means.hold.ours(progress)
            found = means.hold.patiently(lambda: means.cluster.read(name))
            if settled(found):
                return None
            if reason := stuck(found):
                return Verdict(Outcome.FAIL, f"the canary does not start: {reason}")
            if means.clock.now() > deadline:
                return Verdict(
                    Outcome.FAIL, f"the canary was not available after {means.settings.settle_seconds:.0f} s"
                )
            means.pause()

    def watch(self, progress: Progress, canary: Manifest, stable: Manifest) -> Verdict:
        """Returns the verdict on one step."""
        means, limits = self._means, self._means.settings.limits
        sides = Sides(
            lambda: means.hold.patiently(lambda: means.cluster.pods(selector(canary))),
            lambda: means.hold.patiently(lambda: means.cluster.pods(selector(stable))),
        )
        previous = progress.previous_revision if limits.agreement_min else None
        watch = Watch(means.replicas, sides, progress.revision, previous)
        watch.begin()
        begun = means.clock.now()
        while True:
            means.pause()
            means.hold.ours(progress)
            seen = watch.compare(means.clock.now() - begun)
            means.say(str(seen))
            verdict = watch.verdict(seen, limits)
            if verdict.outcome is not Outcome.WAIT:
                return verdict

    def remove(self, stable: Manifest) -> None:
        """Removes the canary Deployment, if it is there."""
        self._means.hold.patiently(lambda: self._means.cluster.delete(canary_name(stable)))

    def _brought(self, stable: Manifest, progress: Progress, count: int) -> Manifest:
        cluster = self._means.cluster
        try:
            canary = self._means.hold.patiently(lambda: cluster.read(canary_name(stable)))
        except MissingError:
            return cluster.create(canary_of(stable, progress.image, progress.revision, count))
        if delivery_image(canary) != progress.image:
            raise EditedError(f"{canary_name(stable)} delivers another image than this rollout's")
        if replicas(canary) == count:
            return canary
        canary["spec"]["replicas"] = count
        return cluster.update(canary)
