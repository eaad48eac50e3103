"""Calls the front at a steady rate, whatever becomes of the calls, and says what became of them.

    python -m deploy.k8s.load 10.1.2.3:8080 --rate 20 --seconds 60

For trying what a cluster does to calls: restart, delete or roll something meanwhile. Prompts differ: no cache helps.
"""

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

PROMPT = "Case {index} of {run}: how many of {index} apples are left when every {divisor}th one is eaten?"


@dataclass
class Tally:
    """What became of the calls."""

    statuses: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)

    def report(self) -> str:
        """Returns it for people."""
        times = sorted(self.milliseconds) or [0.0]
        quantiles = ", ".join(f"p{q} {times[min(len(times) - 1, len(times) * q // 100)]:.0f} ms" for q in (50, 99, 100))
        lines = [f"calls      {self.statuses.total()}", f"statuses   {dict(self.statuses)}"]
        lines += [f"analysis   {dict(self.sources)}", f"skipped    {dict(self.skipped)}", f"took       {quantiles}"]
        return "\n".join(lines)


class Caller:
    """Makes one call at a time, each with a prompt of its own."""

    def __init__(self, channel: grpc.aio.Channel, method: str, run: str) -> None:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        self._call: Any = stub.Route if method == "route" else stub.Decide
        self._request: Any = router_pb2.RouteRequest if method == "route" else router_pb2.DecideRequest
        self._run = run
        self.tally = Tally()

    async def call(self, index: int) -> None:
        """Makes a call and notes its end."""
        text = PROMPT.format(index=index, run=self._run, divisor=index % 7 + 2)
        message = prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)
        begun = time.perf_counter()
        try:
            answer = await self._call(self._request(messages=[message]), timeout=10)
        except grpc.aio.AioRpcError as error:
            self.tally.statuses[f"{error.code().name}: {error.details()}"] += 1
            return
        self.tally.milliseconds.append((time.perf_counter() - begun) * 1e3)
        self.tally.statuses["OK"] += 1
        source = router_pb2.AnalysisSource.Name(answer.decision.analysis_source)
        self.tally.sources[source.removeprefix("ANALYSIS_SOURCE_")] += 1
        for rung in answer.decision.skipped_rungs:
            self.tally.skipped[str(rung).replace("\n", " ").strip()[:80]] += 1


async def load(target: str, method: str, rate: float, seconds: float) -> Tally:
    """Returns what became of all calls."""
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as calls:
        caller = Caller(channel, method, str(time.time_ns()))
        begun = time.perf_counter()
        for index in range(round(rate * seconds)):
            await asyncio.sleep(begun + index / rate - time.perf_counter())
            calls.create_task(caller.call(index))
    return caller.tally


def main() -> None:
    """Prints the tally."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="host:port of the front")
    parser.add_argument("--method", choices=["route", "decide"], default="route")
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    print(asyncio.run(load(given.target, given.method, given.rate, given.seconds)).report())


if __name__ == "__main__":
    main()
