"""How a rollout begins, or is taken up where a process left it."""

from __future__ import annotations

from analyzer.rollout.holding import progress_of
from analyzer.rollout.manifests import (
    Manifest,
    canary_name,
    canary_of,
    canary_replicas,
    delivering,
    delivery_image,
    fingerprint,
    image_for,
    replicas,
    selector,
    settled,
)
from analyzer.rollout.means import Means
from analyzer.rollout.ports import ClusterError, MissingError, UnreachableError
from analyzer.rollout.progress import Progress


def begin(means: Means) -> Progress:
    """Returns a new rollout, or the unfinished one of the same revision; raises ClusterError."""
    stable = means.hold.read()
    last = progress_of(stable)
    if last is None or last.phase.over:
        return _started(means, stable, last)
    if last.revision != means.settings.revision:
        raise ClusterError(f"a rollout of {last.revision} is unfinished: go on with that one, or --abort it")
    means.say(f"goes on where it was: {last.phase.value}, step {last.step + 1}")
    return means.hold.take(last, expected=last)


def rehearse(means: Means) -> None:
    """Says what a rollout would do, and has the API server check its first and its last change; makes none."""
    stable, settings = means.hold.read(), means.settings
    image = _image(means, stable)
    means.say(f"{delivery_image(stable)} -> {image}")
    counts = [canary_replicas(replicas(stable), share) for share in settings.shares]
    for step, count in enumerate(counts, 1):
        share = count / (count + replicas(stable))
        means.say(f"step {step}: canaries {count}, replicas {replicas(stable)}, the canaries' share {share:.0%}")
    means.cluster.create(canary_of(stable, image, settings.revision, counts[0]), dry_run=True)
    means.cluster.update(delivering(stable, image, settings.revision), dry_run=True)
    means.say("the API server accepts these changes; none was made")


def _started(means: Means, stable: Manifest, last: Progress | None) -> Progress:
    image, revision = _image(means, stable), means.settings.revision
    if not settled(stable):
        raise ClusterError(f"{means.settings.deployment} is changing: wait until all its replicas are available")
    _refuse_leftover(means, canary_name(stable))
    started = Progress(
        revision=revision,
        image=image,
        previous_revision=_serving_revision(means, stable),
        previous_image=delivery_image(stable),
        fingerprint=fingerprint(stable),
        holder="",
    )
    taken = means.hold.take(started, expected=last)
    means.tell(stable, "RolloutStarted", f"rolls out {revision}, to follow {taken.previous_revision}")
    return taken


def _image(means: Means, stable: Manifest) -> str:
    image = means.settings.image or image_for(stable, means.settings.revision)
    if image == delivery_image(stable):
        raise ClusterError(f"{means.settings.deployment} delivers {image} already")
    return image


def _refuse_leftover(means: Means, name: str) -> None:
    try:
        means.cluster.read(name)
    except MissingError:
        return
    raise ClusterError(f"{name} is there already, and no rollout tells of it: delete it first")


def _serving_revision(means: Means, stable: Manifest) -> str:
    for pod in means.cluster.pods(selector(stable)):
        try:
            if pod.ready:
                return means.replicas.look(pod).revision
        except UnreachableError as error:
            means.say(f"{pod.name}: {error}")
    raise ClusterError(f"no replica of {means.settings.deployment} can be reached")
