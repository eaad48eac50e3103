"""Analyzers die under load: no decision is lost, and a dead analyzer never looks like a healthy one."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path

import grpc
import pytest
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from analyzer.bench.load import Outcome, open_loop
from tests.e2e.conftest import PATIENT
from tests.support.decisions import SELF_HOSTED, Decider, source_of, user_message
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_openai import Reply as CloudReply
from tests.support.local_stack import LocalStack, StackOptions, alive, local_stack
from tests.support.router_process import router_process
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

RATE = 20
SECONDS = 7
KILLED_AFTER_SECONDS = 2
FROZEN_SECONDS = 3
NO_CLOUD = {"TINYROUTE_ROUTER__CLOUD_ANALYSIS__ENABLED": "false"}
QUESTIONS = (
    "Explain why {} is a prime number or is not.",
    "Write a function that sorts {} numbers.",
    "Translate the number {} into French.",
    "Summarise chapter {} of a book that you know well.",
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Three analyzers; the cloud rung is off. The tests of this module kill them, in their order."""
    options = StackOptions(replicas=3, environment=PATIENT | NO_CLOUD)
    with local_stack(tmp_path_factory.mktemp("fleet"), options) as running:
        yield running


def question(number: int) -> str:
    """A prompt unlike the others."""
    return QUESTIONS[number % len(QUESTIONS)].format(number)


async def route(address: str, text: str) -> router_pb2.RouteResponse:
    """Has one prompt answered."""
    settings = router_pb2.GenerationSettings(max_output_tokens=4)
    request = router_pb2.RouteRequest(messages=user_message(text), generation=settings)
    async with grpc.aio.insecure_channel(address) as channel:
        answer: router_pb2.RouteResponse = await router_pb2_grpc.RouterServiceStub(channel).Route(request, timeout=60)
    return answer


async def kill_later(pid: int) -> None:
    """Kills a process amid the load, as the kernel does when memory runs out."""
    await asyncio.sleep(KILLED_AFTER_SECONDS)
    os.kill(pid, signal.SIGKILL)


async def freeze_for_a_while(pid: int) -> None:
    """Stops a process amid the load, as a lost node seems to be: its connections stay open, nothing answers."""
    await asyncio.sleep(KILLED_AFTER_SECONDS)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    os.kill(pid, signal.SIGCONT)


async def decisions_during(fleet: LocalStack, fault: Awaitable[None]) -> Counter[tuple[Outcome, str]]:
    """Counts how decisions ended, at a steady rate, while something goes wrong."""
    async with grpc.aio.insecure_channel(fleet.document["router"]) as channel:
        # Critical: whatever else this machine has to do, load is no reason to refuse.
        decider = Decider(channel, criticality=router_pb2.CRITICALITY_CRITICAL)
        arrivals = iter([number / RATE for number in range(RATE * SECONDS)])
        load = open_loop(lambda number: decider.decide(question(number)), arrivals)
        samples, _ = await asyncio.gather(load, fault)
    return Counter((sample.reply.outcome, sample.reply.source) for sample in samples)


def assert_none_lost(outcomes: Counter[tuple[Outcome, str]]) -> None:
    """Every decision was made, at least 99.9 % of them by the self-hosted rung."""
    assert {outcome for outcome, _ in outcomes} == {Outcome.ANSWERED}, outcomes
    self_hosted = sum(count for (_, source), count in outcomes.items() if source in SELF_HOSTED)
    assert self_hosted / outcomes.total() >= 0.999, outcomes


async def test_a_frozen_analyzer_loses_no_decision(fleet: LocalStack) -> None:
    """Its calls are hedged on another replica until Envoy takes it out; it comes back by itself."""
    frozen = fleet.pids("analyzer")[0]
    try:
        assert_none_lost(await decisions_during(fleet, freeze_for_a_while(frozen)))
    finally:
        os.kill(frozen, signal.SIGCONT)

    async def all_back() -> bool:
        healthy = await asyncio.to_thread(fleet.envoy_counters, "^cluster.analyzers.membership_healthy$")
        return list(healthy.values()) == [3]

    await until(all_back, "the frozen analyzer is back")


async def test_one_of_three_analyzers_killed_under_load_loses_no_decision(fleet: LocalStack) -> None:
    """Every decision is made, at least 99.9 % of them by the analyzers that are left; the stack says who died."""
    victim = fleet.pids("analyzer")[1]
    assert_none_lost(await decisions_during(fleet, kill_later(victim)))
    assert not alive(victim)
    assert f"analyzer-2 (pid {victim}) ended by SIGKILL" in fleet.said


async def test_without_any_analyzer_every_request_is_answered_and_says_why(fleet: LocalStack) -> None:
    """By the default tier; the rungs that gave nothing are named with their reasons."""
    for pid in fleet.pids("analyzer"):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    answers = [await route(fleet.document["router"], f"Name {number} colours.") for number in range(6)]
    for answer in answers:
        decision = answer.decision
        assert (decision.cause, decision.tier) == (router_pb2.CAUSE_DEFAULT, router_pb2.TIER_MEDIUM)
        assert source_of(decision) == "NONE"
        assert [skipped.rung for skipped in decision.skipped_rungs] == [
            router_pb2.RUNG_SELF_HOSTED,
            router_pb2.RUNG_CLOUD_TINY,
        ]
        reasons = {router_pb2.SKIP_REASON_UNAVAILABLE, router_pb2.SKIP_REASON_BREAKER_OPEN}
        assert decision.skipped_rungs[0].reason in reasons
        assert decision.skipped_rungs[1].reason == router_pb2.SKIP_REASON_DISABLED
        assert answer.text
    assert answers[0].decision.skipped_rungs[0].reason == router_pb2.SKIP_REASON_UNAVAILABLE


async def test_without_any_analyzer_the_cloud_model_decides(fleet: LocalStack, tmp_path: Path) -> None:
    """It answers 400 ms later, as a cloud does."""
    async with FakeOpenAI(CloudReply(("3",)), latency=0.4) as cloud:
        environment = {
            "TINYROUTE_ROUTER__CLOUD_ANALYSIS__ENABLED": "true",
            "TINYROUTE_ROUTER__CLOUD_ANALYSIS__BASE_URL": cloud.base_url,
        }
        with router_process(fleet, tmp_path, environment) as address:
            answer = await route(address, "Name a colour.")
    assert source_of(answer.decision) == "CLOUD_TINY"
    assert [skipped.rung for skipped in answer.decision.skipped_rungs] == [router_pb2.RUNG_SELF_HOSTED]
    assert answer.cost.analysis_micros > 0
    assert len(cloud.seen) == 1
