"""Routes a few real prompts through the whole system, shows every decision and one waterfall, and stops.

    python -m deploy.local.demo        (make demo)

Everything is real but the sizes: one small local model stands in for all three tiers and for the cloud model. Exits
with 1, saying why, when anything is missing from what it promises to show.
"""

import dataclasses
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from google.protobuf import json_format
from rich.console import Console
from tinyroute.router.v1 import router_pb2

from deploy.local.interrupts import Interrupts
from deploy.local.plan import StackSettings
from deploy.local.ports import LOOPBACK, PORT_BASE, free_ports, taken
from deploy.local.processes import StackError
from deploy.local.stack import running_stack
from deploy.local.traces import SpanDict
from router.cli import render
from router.cli.output import printable
from router.cli.tracing import find
from router.cli.waterfall import waterfall

PROMPTS = (
    "Hi! How are you today?",
    "What is the capital of France?",
    "Translate into French: The weather is nice today.",
    "Write a Python function that says whether a string is a palindrome.",
    "A train leaves at 9:40, travels 2 hours and 35 minutes, waits 15 minutes and goes on for 50. When does it arrive?",
    "Three rolls of a fair die: what is the probability that the product of the three numbers is a multiple of 6?",
    "Prove that every bounded sequence of real numbers has a convergent subsequence. Where is completeness used?",
    "Design a multi-region active-active database: conflict resolution, failover, and what you give up for it.",
)
MAX_OUTPUT_TOKENS = 48
ANSWER_CHARACTERS = 220
ANSWER_SECONDS = 60.0
TRACE_SECONDS = 20.0
ANALYZER_SPAN = "AnalyzePrompt"
STAGES = ("queue", "tokenize", "forward")

NOTICE = """\
One small model, SmolLM2-135M-Instruct, stands in for all three tiers and for the cloud model, so that no key is needed:
the decisions, prices and times are real, the answers are those of a very small model.
"""


def main() -> None:
    """Exits with 1, saying why, when the demonstration can't be given in full."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    try:
        settings = on_free_ports(StackSettings.from_environment(os.environ))
        show(console, dataclasses.replace(settings, run_folder=settings.run_folder / "demo", collector=None))
    except (StackError, OSError) as error:
        sys.exit(f"make demo: {error}")


def on_free_ports(settings: StackSettings) -> StackSettings:
    """Returns settings whose ports are free: the documented ones, or others while those are taken."""
    if not taken(settings.ports, settings.replicas) or os.environ.get(PORT_BASE):
        return settings
    return dataclasses.replace(settings, ports=free_ports(settings.replicas))


def show(console: Console, settings: StackSettings) -> None:
    """Starts everything, routes the prompts one after another, draws the last one's waterfall, stops everything."""
    console.print(f"Starting {settings.replicas} analyzers, Envoy, router, trace receiver and a local model server ...")
    console.print(NOTICE)
    with Interrupts() as interrupts, running_stack(settings, interrupts):
        answers = []
        for number, prompt in enumerate(PROMPTS, start=1):
            if interrupts.asked():
                raise StackError("interrupted")
            answers.append(route(settings, prompt))
            show_answer(console, f"{number} of {len(PROMPTS)}", prompt, answers[-1])
        show_waterfall(console, settings, answers[-1].request_id)
    say_what_was_seen(console, answers)


def route(settings: StackSettings, prompt: str) -> router_pb2.RouteResponse:
    """Sends one prompt through the JSON front."""
    body = {
        "messages": [{"role": "ROLE_USER", "content": prompt}],
        "generation": {"max_output_tokens": MAX_OUTPUT_TOKENS, "temperature": 0},
    }
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{settings.ports.front_listener}/v1/route",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - an http address of ours
            return json_format.Parse(answer.read(), router_pb2.RouteResponse())
    except urllib.error.HTTPError as error:
        raise StackError(f"the router answered {error.code}: {error.read().decode(errors='replace')}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        raise StackError(f"the router did not answer: {error}") from error


def show_answer(console: Console, title: str, prompt: str, answer: router_pb2.RouteResponse) -> None:
    """Prints one prompt, the decision on it, and its answer."""
    console.rule(title, align="left", style="dim")
    console.print(prompt, style="bold", markup=False)
    render.summary(console, answer)
    text = " ".join(printable(answer.text).split())
    cut = f"{text[:ANSWER_CHARACTERS]} ..." if len(text) > ANSWER_CHARACTERS else text
    console.print(f"answer  {cut}", markup=False, style="italic")


def show_waterfall(console: Console, settings: StackSettings, request_id: str) -> None:
    """Draws where the time of a request went; raises StackError when a stage of the analyzer is missing from it."""
    console.rule("where the time of the last one went", align="left", style="dim")
    spans = whole_trace(f"{LOOPBACK}:{settings.ports.otlp_http}", request_id)
    console.print(waterfall(spans))
    if missing := missing_stages(spans):
        raise StackError(f"the trace lacks {', '.join(missing)} inside {ANALYZER_SPAN}")


def whole_trace(receiver: str, request_id: str) -> list[SpanDict]:
    """Returns the spans of a request once all parents and stages have come, or what came in TRACE_SECONDS."""
    deadline = time.monotonic() + TRACE_SECONDS
    while True:
        traces = find(f"http://{receiver}", request_id, wait=TRACE_SECONDS)
        spans: list[SpanDict] = traces[0]["spans"] if traces else []
        ids = {span["span_id"] for span in spans} | {""}
        complete = all(span["parent_id"] in ids for span in spans) and not missing_stages(spans)
        if (spans and complete) or time.monotonic() > deadline:
            return spans


def missing_stages(spans: Sequence[SpanDict]) -> list[str]:
    """Returns the stages of the analysis that have no span inside the analyzer's."""
    analyzers = {span["span_id"] for span in spans if span["name"].endswith(ANALYZER_SPAN)}
    inside = {span["name"] for span in spans if span["parent_id"] in analyzers}
    return [stage for stage in STAGES if stage not in inside]


def say_what_was_seen(console: Console, answers: Sequence[router_pb2.RouteResponse]) -> None:
    """Sums up; raises StackError when all prompts went to the same tier."""
    tiers = [router_pb2.Tier.Name(answer.decision.tier).removeprefix("TIER_") for answer in answers]
    total = sum(answer.cost.total_micros for answer in answers)
    top = sum(answer.cost.top_tier_micros for answer in answers)
    counts = ", ".join(f"{tiers.count(tier)} {tier}" for tier in dict.fromkeys(sorted(tiers)))
    console.rule(style="dim")
    console.print(f"{len(answers)} prompts: {counts}. Cost ${total / 1e6:.6f}, always LARGE ${top / 1e6:.6f}.")
    if len(set(tiers)) == 1:
        raise StackError(f"all prompts went to {tiers[0]}; two tiers at least were expected")


if __name__ == "__main__":
    main()
