"""Ten minutes of random faults, and any sequence of them: every call ends in time and says how, nothing leaks."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from analyzer.bench.load import closed_loop
from tests.support.chaos_calls import TYPED, Caller, Told, failures, self_hosted_share, unexplained
from tests.support.chaos_faults import WELL, Strikes
from tests.support.chaos_fleet import ChaosFleet
from tests.support.chaos_load import fresh_prompts, under_load
from tests.support.fake_openai import FakeOpenAI, Reply
from tests.support.promises import Promises

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(3600)]

SOAK_SECONDS = float(os.environ.get("CHAOS_SOAK_SECONDS", "600"))
EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "5"))
FAULT_EVERY_SECONDS = 20.0
HEALED_AFTER_SECONDS = 8.0
RATE = 10.0
DEADLINE_SECONDS = 10.0
GRACE_SECONDS = 0.5
KINDS = ("kill", "stop", "slow", "429", "cut", "swap", "reload", "envoy", "cloud")


@asynccontextmanager
async def struck(fleet: ChaosFleet) -> AsyncIterator[Strikes]:
    """The fleet with its stand-ins, well, and what strikes it."""
    async with (
        FakeOpenAI(WELL, port=fleet.tier_port) as tiers,
        FakeOpenAI(Reply(("3",)), latency=0.4, port=fleet.cloud_port) as cloud,
    ):
        strikes = Strikes(fleet, tiers, cloud)
        try:
            yield strikes
        finally:
            await strikes.heal()


def wrong(told: list[Told]) -> dict[str, object]:
    """What breaks an invariant: an untyped error, an answer after its deadline, a fallback that does not say why."""
    found = {
        "untyped": [code for code in failures(told) if code not in TYPED],
        "late": [each for each in told if each.seconds > DEADLINE_SECONDS + GRACE_SECONDS],
        "unexplained": unexplained(told),
    }
    return {name: value for name, value in found.items() if value}


def held(pid: int) -> tuple[int, float]:
    """File descriptors and megabytes of a process."""
    process = psutil.Process(pid)
    return process.num_fds(), process.memory_info().rss / 2**20


async def test_soak(fleet: ChaosFleet, promises: Promises) -> None:
    """A random fault every 20 s, healed after 8 s."""
    dice = random.Random(5)
    async with struck(fleet) as strikes:
        await under_load(fleet.router, RATE, 5)
        before = held(fleet.routers[0].pid)

        async def strike() -> None:
            for _ in range(max(1, int(SOAK_SECONDS // FAULT_EVERY_SECONDS))):
                await strikes.strike(dice.choice(KINDS), dice.randrange(3))
                await asyncio.sleep(HEALED_AFTER_SECONDS)
                await strikes.heal()
                await asyncio.sleep(FAULT_EVERY_SECONDS - HEALED_AFTER_SECONDS)

        run = await under_load(fleet.router, RATE, SOAK_SECONDS, strike)
        await asyncio.sleep(3)
        after = held(fleet.routers[0].pid)
    broken = wrong(run.told)
    promises.count("invariants broken", "none", broken, holds=not broken)
    promises.count("router's file descriptors", "≤ +20", f"{after[0] - before[0]:+d}", holds=after[0] <= before[0] + 20)
    promises.count("router's memory", "≤ +64 MB", f"{after[1] - before[1]:+.0f} MB", holds=after[1] <= before[1] + 64)
    promises.note(f"{len(run.told)} calls, {dict(Counter(strikes.done))}, errors {dict(failures(run.told))}")
    promises.note(f"self-hosted {self_hosted_share(run.told):.1%}")
    promises.settle()


class FaultMachine(RuleBasedStateMachine):
    """Faults come, stay and are healed in any order, while requests are made."""

    def __init__(self, runner: asyncio.Runner, strikes: Strikes) -> None:
        super().__init__()
        self.runner = runner
        self.strikes = strikes
        self.caught = 0

    @rule(kind=st.sampled_from(KINDS), number=st.integers(0, 2))
    def strike(self, kind: str, number: int) -> None:
        """From now on something is broken."""
        self.runner.run(self.strikes.strike(kind, number))
        self._ask()

    @rule()
    def heal(self) -> None:
        """All is well again."""
        self.runner.run(self.strikes.heal())
        self._ask()

    def _ask(self) -> None:
        told = self.runner.run(self._asked())
        assert not wrong(told), (self.strikes.done, wrong(told))

    async def _asked(self) -> list[Told]:
        async with grpc.aio.insecure_channel(self.strikes.fleet.router) as channel:
            caller = Caller(channel, fresh_prompts(), DEADLINE_SECONDS)
            await closed_loop(caller, 4, 1.5)
        return caller.told

    def teardown(self) -> None:
        """The next sequence finds it well."""
        self.runner.run(self.strikes.heal())


def test_any_sequence_of_faults(fleet: ChaosFleet) -> None:
    """On real processes, so few and short ones: CHAOS_EXAMPLES says how many."""
    with asyncio.Runner() as runner:
        context = struck(fleet)
        strikes = runner.run(context.__aenter__())
        try:
            run_state_machine_as_test(
                lambda: FaultMachine(runner, strikes),
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=8,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(context.__aexit__(None, None, None))
