"""Rollouts against a scripted API server with scripted replicas: forwards, backwards, interrupted, interfered with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analyzer.rollout.cluster import KubernetesCluster, api_client
from analyzer.rollout.comparing import Limits
from analyzer.rollout.forwarding import PortForwards
from analyzer.rollout.holding import SupersededError, progress_of
from analyzer.rollout.means import RolloutSettings
from analyzer.rollout.ports import ClusterError
from analyzer.rollout.progress import Phase
from analyzer.rollout.replicas import ReachedReplicas
from analyzer.rollout.running import Rollout
from tests.support.fake_kubernetes import FakeKubernetes, revision_of
from tests.support.fake_replicas import Behaviour
from tests.support.k8s import ROOT, of_kind, render

OLD = "smollm2-135m-instruct-15-judge-1"
BEHAVIOURS = {
    OLD: Behaviour(),
    "good": Behaviour(seconds=0.02),
    "different": Behaviour(agreement=0.6),
    "slow": Behaviour(seconds=0.25),
    "failing": Behaviour(failed_share=0.1),
    "incomparable": Behaviour(refuses_to_stage=True),
    "broken": Behaviour(starts=False),
}
SETTINGS = {"shares": (0.2, 0.5), "limits": Limits(step_seconds=0.0), "poll_seconds": 0.01}


@dataclass
class World:
    """A cluster, and rollouts in it."""

    cluster: FakeKubernetes
    folder: Path
    said: list[str]

    def rollout(self, revision: str, **settings: Any) -> Rollout:
        """A rollout by a process of its own."""
        api, namespace = api_client(None, os.environ), "tinyroute"
        cluster = KubernetesCluster(api, namespace)
        replicas = ReachedReplicas(PortForwards(api_client(None, os.environ), namespace))
        return Rollout(cluster, replicas, RolloutSettings(revision, **{**SETTINGS, **settings}), self.said.append)

    @property
    def stable(self) -> dict[str, Any]:
        """The Deployment."""
        return self.cluster.deployments["analyzer"]

    @property
    def has_canary(self) -> bool:
        """Whether the canary's Deployment is there."""
        return "analyzer-canary" in self.cluster.deployments

    @property
    def event_reasons(self) -> list[str]:
        """The reasons of all events, in order."""
        return [each["reason"] for each in self.cluster.events]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The base's analyzer, two replicas, and the rights that the base gives."""
    manifests = render("base")
    stable = of_kind(manifests, "Deployment")["analyzer"]
    rules = of_kind(manifests, "Role")["analyzer-rollout"]["rules"]
    with FakeKubernetes(stable, rules, BEHAVIOURS) as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path)))
        yield World(cluster, tmp_path, [])


def test_a_good_revision_is_promoted_step_by_step(world: World) -> None:
    """Canaries first, then all; nothing is left of the canary."""
    counts: list[int] = []
    world.cluster.before_write.append(
        lambda cluster, _: counts.append(
            cluster.deployments.get("analyzer-canary", {"spec": {"replicas": 0}})["spec"]["replicas"]
        )
    )
    ended = world.rollout("good").run()
    assert ended.phase is Phase.PROMOTED
    assert revision_of(world.stable) == "good"
    assert not world.has_canary
    assert sorted(set(counts)) == [0, 1, 2]
    assert world.event_reasons == ["RolloutStarted", "RolloutStepPassed", "RolloutStepPassed", "RolloutPromoted"]


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("different", "agree on 60.0%"),
        ("slow", "p99 is"),
        ("failing", "lost 10.0"),
        ("incomparable", "golden prompts differ"),
        ("broken", "does not start"),
    ],
)
def test_a_worse_revision_is_rolled_back_by_itself(world: World, revision: str, reason: str) -> None:
    """The replicas are never touched, the canary goes, and the reason is kept."""
    template = world.stable["spec"]["template"]
    ended = world.rollout(revision).run()
    assert ended.phase is Phase.ROLLED_BACK
    assert reason in ended.reason
    assert world.stable["spec"]["template"] == template
    assert not world.has_canary
    assert world.event_reasons[-1] == "RolloutRolledBack"
    assert world.cluster.events[-1]["type"] == "Warning"
    kept = progress_of(world.stable)
    assert kept is not None
    assert kept.reason == ended.reason


def test_replicas_that_can_not_compare_are_judged_by_the_rest(world: World) -> None:
    """When the operator says that agreement is not to be watched."""
    limits = Limits(agreement_min=0, step_seconds=0.0)
    assert world.rollout("incomparable", limits=limits).run().phase is Phase.PROMOTED


def test_too_little_traffic_is_no_pass(world: World) -> None:
    """What nobody has tried has not been shown to be good."""
    limits = Limits(step_seconds=0.0, prompts_min=10**9, patience_seconds=0.05)
    ended = world.rollout("good", limits=limits).run()
    assert ended.phase is Phase.ROLLED_BACK
    assert "too few to judge by" in ended.reason


def test_replicas_that_do_not_start_are_taken_back(world: World) -> None:
    """The canary did, the others don't: back to the image that was there before."""

    def break_it(cluster: FakeKubernetes, name: str) -> None:
        progress = progress_of(cluster.deployments["analyzer"])
        promoting = progress is not None and progress.phase is Phase.CANARY and progress.step == 1
        cluster.behaviours = {**BEHAVIOURS, "good": Behaviour(starts=not (promoting and name == "analyzer"))}

    world.cluster.before_write.append(break_it)
    ended = world.rollout("good").run()
    assert ended.phase is Phase.ROLLED_BACK
    assert "the replicas do not start" in ended.reason
    assert revision_of(world.stable) == OLD
    assert not world.has_canary


def test_an_edit_of_the_pods_ends_the_rollout_and_stays(world: World) -> None:
    """Whoever edits knows something: the canary goes, the edit is kept."""

    def edit(cluster: FakeKubernetes, name: str) -> None:
        if name == "analyzer-canary":
            edited = cluster.deployments["analyzer"]
            edited["spec"]["template"]["spec"]["containers"][0]["image"] = "tinyroute-analyzer:0.2.0"
            cluster.put(edited)

    world.cluster.before_write.append(edit)
    ended = world.rollout("good").run()
    assert ended.phase is Phase.ABANDONED
    assert world.stable["spec"]["template"]["spec"]["containers"][0]["image"] == "tinyroute-analyzer:0.2.0"
    assert revision_of(world.stable) == OLD
    assert not world.has_canary
    assert world.event_reasons[-1] == "RolloutAbandoned"


def test_the_autoscaler_may_write_between_read_and_write(world: World) -> None:
    """A conflict that changes no pod is written over again, on top of the other's change."""
    scaled: list[int] = []

    def scale(cluster: FakeKubernetes, name: str) -> None:
        if name == "analyzer" and len(scaled) < 3:
            scaled.append(len(scaled) + 5)
            cluster.deployments["analyzer"]["spec"]["replicas"] = scaled[-1]
            cluster.put(cluster.deployments["analyzer"])

    world.cluster.before_write.append(scale)
    assert world.rollout("good").run().phase is Phase.PROMOTED
    assert world.stable["spec"]["replicas"] == 7


def test_a_second_process_takes_over_and_the_first_one_stops(world: World) -> None:
    """Two at once would step on each other; the later one is the one a person wants."""
    second = world.rollout("good")
    taken: list[Phase] = []

    def take_over(cluster: FakeKubernetes, name: str) -> None:  # noqa: ARG001
        if name == "analyzer-canary" and not taken:
            taken.append(Phase.CANARY)
            taken[0] = second.run().phase

    world.cluster.before_write.append(take_over)
    with pytest.raises(SupersededError):
        world.rollout("good").run()
    assert taken == [Phase.PROMOTED]


def test_another_revision_has_to_wait(world: World) -> None:
    """An unfinished rollout is finished or taken back first."""
    world.rollout("good", limits=Limits(step_seconds=0.0)).run()
    unfinished = progress_of(world.stable)
    assert unfinished is not None
    world.stable["metadata"]["annotations"]["tinyroute.dev/rollout"] = unfinished.then(Phase.CANARY).to_json()
    with pytest.raises(ClusterError, match="a rollout of good is unfinished"):
        world.rollout("slow").run()
    assert world.rollout("").abort().phase is Phase.ROLLED_BACK
    assert revision_of(world.stable) == OLD


def test_a_rehearsal_changes_nothing(world: World) -> None:
    """The API server checks the changes, and makes none."""
    before = world.cluster.deployments["analyzer"]
    world.rollout("good").rehearse()
    assert world.cluster.deployments == {"analyzer": before}
    assert world.said[0].endswith(f"tinyroute-model:{OLD} -> tinyroute-model:good")
    assert "none was made" in world.said[-1]


def test_the_base_gives_the_rights_that_a_rollout_uses_and_no_others(world: World) -> None:
    """Forwards and backwards with the base's Role: no refusal, no rule without use."""
    world.rollout("good").run()
    assert world.cluster.used_rules == set(range(len(world.cluster.rules)))
    world.cluster.rules = [rule for rule in world.cluster.rules if "pods" not in rule["resources"]]
    with pytest.raises(ClusterError, match="rollout-rights"):
        world.rollout("slow").run()


def command(revision: str, *more: str) -> list[str]:
    """The command line of a rollout."""
    quick = ["--step-seconds", "0", "--poll-seconds", "0.05", "--steps", "20,50"]
    code = "from analyzer.cli.rollout import rollout; rollout()"
    return [sys.executable, "-c", code, "--revision", revision, *quick, *more]


@pytest.mark.parametrize("moment", ["canary", "promoting"])
def test_a_killed_process_is_taken_up_where_it_was(world: World, moment: str) -> None:
    """SIGKILL in the middle; the same command again ends what was begun."""

    def reached() -> bool:
        progress = progress_of(world.stable)
        if moment == "canary":
            return world.has_canary
        return progress is not None and progress.step == 1

    process = subprocess.Popen(command("good"), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not reached() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert world.stable["metadata"]["annotations"]["tinyroute.dev/rollout"]
    again = subprocess.run(command("good"), cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert again.returncode == 0, again.stderr
    assert "goes on where it was" in again.stderr
    assert revision_of(world.stable) == "good"
    assert not world.has_canary


def test_the_command_says_how_it_ended(world: World) -> None:
    """By a sentence and an exit code."""
    done = subprocess.run(command("slow"), cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 3
    assert f"{OLD} serves everywhere" in done.stdout
    rehearsed = subprocess.run(command("good", "--dry-run"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert not world.has_canary
