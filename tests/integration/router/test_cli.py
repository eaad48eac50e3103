"""The command line as a process of its own, against a whole router."""

import asyncio
import csv
import io
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tinyroute.router.v1 import admin_pb2, router_pb2

from router.adapters.policy_store import PolicyStore
from router.adapters.sqlite_file import SqliteFile
from router.learning.versions import State, Version
from router.policy import Policy
from tests.support.fake_analyzer import FakeAnalyzer, found
from tests.support.fake_openai import FakeOpenAI, Reply, status
from tests.support.running_router import Running, configuration, running_router, write

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}", "COLUMNS": "120"}


@dataclass
class Ran:
    """What a command said and ended with."""

    code: int
    out: str
    err: str


async def cli(*arguments: str, stdin: str = "", cwd: Path | None = None) -> Ran:
    """Runs `router` with its output piped."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "router",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=cwd or ROOT,
    )
    out, err = await process.communicate(stdin.encode())
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def on_a_terminal(*arguments: str) -> Ran:
    """Runs `router` with its output on a terminal."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "router", *arguments, stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT, cwd=ROOT
    )
    os.close(slave)
    shown = asyncio.create_task(asyncio.to_thread(_read_all, master))
    code = await process.wait()
    return Ran(code, await shown, "")


def _read_all(descriptor: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # the other side is closed
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


@dataclass
class World:
    """A router and what it leans on."""

    router: Running
    analyzer: FakeAnalyzer
    model: FakeOpenAI


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All three, well; the answer tries to drive the terminal."""
    async with (
        FakeAnalyzer() as analyzer,
        FakeOpenAI(Reply(("Four", ".\x1b[31m"))) as model,
        running_router(tmp_path, configuration(tmp_path, analyzer.target, model.base_url)) as router,
    ):
        yield World(router, analyzer, model)


async def test_ask_prints_the_protobuf_json_form_when_piped(world: World) -> None:
    """And nothing else."""
    ran = await cli("ask", "What is 2 + 2?", "--target", world.router.target)
    assert (ran.code, ran.err) == (0, "")
    response = json_format.Parse(ran.out, router_pb2.RouteResponse())
    assert response.decision.tier == router_pb2.TIER_SMALL
    assert "finish_reason" in json.loads(ran.out)


async def test_ask_takes_the_prompt_from_standard_input_and_every_option(world: World) -> None:
    """Each where the wire wants it."""
    options = (
        "--system=Be brief. --min-tier=large --max-cost=0.5 --quality-target=0.9 --max-output-tokens=7 --temperature=0 "
        "--top-p=0.5 --seed=3 --stop=END --json-object --team=t --feature=f --label=k=v --criticality=critical "
        "--session=s --request-id=r-1"
    )
    split = [f"--{each.strip()}" for each in options.split("--") if each.strip()]
    ran = await cli("ask", "-", *split, "--target", world.router.target, stdin="From a pipe")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["request_id"] == "r-1"
    sent = world.model.seen[0].body
    assert sent["model"] == "large-model"
    assert [message["content"] for message in sent["messages"]] == ["Be brief.", "From a pipe"]
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"], sent["seed"]) == (7, 0, 0.5, 3)
    assert (sent["stop"], sent["response_format"]) == (["END"], {"type": "json_object"})


async def test_a_terminal_shows_answer_reasons_tiers_cost_and_time(world: World) -> None:
    """And no control character of the answer."""
    ran = await on_a_terminal("ask", "What is 2 + 2?", "--target", world.router.target)
    assert ran.code == 0
    for shown in (
        "Four.",
        "SMALL",
        "MEDIUM",
        "LARGE",
        "0.960",
        "$0.000015",
        "saved",
        "11 in, 2 out",
        "analysis",
        "[quality",
    ):
        assert shown in ran.out
    assert "\x1b[31m" not in ran.out.split("────")[0]


async def test_a_stream_is_json_lines_when_piped_and_text_on_a_terminal(world: World) -> None:
    """The same pieces."""
    ran = await cli("ask", "--stream", "x", "--target", world.router.target)
    pieces = [json_format.Parse(line, router_pb2.StreamRouteResponse()) for line in ran.out.splitlines()]
    assert pieces[0].decision.tier == router_pb2.TIER_SMALL
    assert pieces[-1].finish_reason == router_pb2.FINISH_REASON_STOP
    ran = await on_a_terminal("ask", "--stream", "x", "--target", world.router.target)
    assert ran.out.startswith("Four.")
    assert "SMALL" in ran.out


async def test_decide_shows_every_tier(world: World) -> None:
    """And asks none."""
    world.analyzer.answer = found(0.2, 0.5, 0.9)
    ran = await on_a_terminal("decide", "x", "--target", world.router.target)
    assert ran.code == 0
    assert "LARGE" in ran.out
    assert "0.200" in ran.out
    assert not world.model.seen


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ask", ""), 2, "messages[0].content"),
        (("ask", "x", "--min-tier", "huge"), 2, "huge"),
        (("ask", "x", "--max-cost", "much"), 2, "no amount"),
        (("ask", "x", "--label", "novalue"), 2, "KEY=VALUE"),
        (("ask", "x", "--min-tier", "large", "--max-tier", "small"), 4, "failed_precondition"),
        (("outcome", "nobody", "good"), 6, "no request"),
        (("outcome", "nobody", "great"), 2, "neither good nor bad"),
    ],
)
async def test_every_failure_is_one_sentence_and_an_exit_code(
    world: World, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """As `router --help` says."""
    ran = await cli(*arguments, "--target", world.router.target)
    assert ran.code == code
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


async def test_no_router_and_dead_backends_are_unreachable(world: World) -> None:
    """With what to do."""
    ran = await cli("ask", "x", "--target", "127.0.0.1:9")
    assert ran.code == 3
    assert "router serve" in ran.err
    world.model.script = [status(503)]
    assert (await cli("ask", "x", "--target", world.router.target)).code == 3


async def test_a_batch_is_resumed_where_it_stopped(world: World, tmp_path: Path) -> None:
    """A torn last line is asked again; what has a result is not."""
    source, results = tmp_path / "in.jsonl", tmp_path / "in.results.jsonl"
    lines: list[dict[str, Any]] = [{"id": name, "prompt": f"Prompt {name}"} for name in "abc"]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = json_format.MessageToJson(
        router_pb2.BatchRouteResponse(request_id="a", response={"text": "before"}),
        preserving_proto_field_name=True,
        indent=None,
    )
    results.write_text(done + "\n" + '{"request_id": "b", "resp')
    ran = await cli("batch", str(source), "--target", world.router.target)
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(row["request_id"] for row in rows) == ["a", "b", "c"]
    assert len(world.model.seen) == 2
    assert "2 answered, 0 failed, 1 were there" in ran.err


async def test_a_wrong_line_of_a_batch_is_named(world: World, tmp_path: Path) -> None:
    """Before anything is sent."""
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "x"}\nnonsense\n')
    ran = await cli("batch", str(source), "--target", world.router.target)
    assert ran.code == 2
    assert "in.jsonl:2" in ran.err
    assert not world.model.seen


async def test_usage_comes_in_three_forms(world: World) -> None:
    """The same sums."""
    await cli("ask", "x", "--team", "search", "--target", world.router.target)
    where = ("--by", "team", "--by", "tier", "--target", world.router.admin_target)
    (row,) = json_format.Parse((await cli("usage", *where)).out, admin_pb2.QueryUsageResponse()).rows
    assert (list(row.group), row.cost_micros) == (["search", "SMALL"], 15)
    (told,) = csv.DictReader(io.StringIO((await cli("usage", *where, "--format", "csv")).out))
    assert (told["team"], told["tier"], told["cost_micros"]) == ("search", "SMALL", "15")
    shown = (await on_a_terminal("usage", *where)).out
    assert "search" in shown
    assert "$0.000015" in shown


async def test_outcome_and_policy_speak_plainly(world: World) -> None:
    """Kept, replaced; the thresholds in force."""
    await cli("ask", "x", "--request-id", "r-1", "--target", world.router.target)
    assert (await cli("outcome", "r-1", "good", "--target", world.router.target)).out == "kept\n"
    assert (await cli("outcome", "r-1", "0.2", "--target", world.router.target)).out == "replaced\n"
    shown = (await on_a_terminal("policy", "show", "--target", world.router.admin_target)).out
    assert "0.95 of the best allowed tier" in shown


async def test_check_names_every_mistake_and_masks_secrets(tmp_path: Path) -> None:
    """Line and field."""
    good = tmp_path / "good.yaml"
    made = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2/v1")
    made["tiers"]["LARGE"]["backends"][0]["api_key"] = {"env": "HOME"}
    write(good, made)
    ran = await cli("check", "--config", str(good))
    assert ran.code == 0, ran.err
    assert "env: HOME" in ran.out
    assert ENVIRONMENT["HOME"] not in ran.out
    assert "quality_target: 0.95" in ran.out
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nlisten:\n  prot: 5\ntiers: {}\ncloud_analysis: {base_url: 'http://a:hunter2@b/v1'}\n")
    ran = await cli("check", "--config", str(bad))
    assert ran.code == 2
    assert "bad.yaml:3: listen.prot: unknown key" in ran.err
    assert "bad.yaml:5: cloud_analysis.base_url: must hold neither user, password" in ran.err
    assert "hunter2" not in ran.err


async def test_check_tells_of_a_key_that_is_not_there(tmp_path: Path) -> None:
    """By the variable's name."""
    path = tmp_path / "router.yaml"
    made = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2/v1")
    made["tiers"]["SMALL"]["backends"][0]["api_key"] = {"env": "NO_SUCH_KEY"}
    write(path, made)
    ran = await cli("check", "--config", str(path))
    assert ran.code == 2
    assert "NO_SUCH_KEY is not set" in ran.err
    ran = await cli("serve", "--config", str(path))
    assert ran.code == 1
    assert "NO_SUCH_KEY is not set" in ran.err
    assert "Traceback" not in ran.err


async def test_serve_says_which_port_is_taken(world: World, tmp_path: Path) -> None:
    """And what to do."""
    path = tmp_path / "second.yaml"
    made = configuration(tmp_path / "second", "127.0.0.1:1", "http://127.0.0.1:2/v1")
    made["listen"]["port"] = world.router.ready.port
    write(path, made)
    ran = await cli("serve", "--config", str(path))
    assert ran.code == 1
    assert f"port {world.router.ready.port} is in use" in ran.err


async def test_doctor_says_what_is_well_and_what_to_do(world: World, tmp_path: Path) -> None:
    """Against the real things."""
    path = tmp_path / "doctor.yaml"
    world.model.script = [Reply(body=b'{"object": "list", "data": [{"id": "small-model"}]}')]
    write(path, configuration(tmp_path, world.analyzer.target, world.model.base_url))
    ran = await cli("doctor", "--config", str(path))
    findings = json.loads(ran.out)
    assert ran.code == 0, ran.err
    assert findings[0]["seen"].startswith("revision tiny-1 answers in")
    assert all(finding["well"] for finding in findings)
    write(path, configuration(tmp_path, "127.0.0.1:9", "http://127.0.0.1:9/v1"))
    ran = await cli("doctor", "--config", str(path))
    assert ran.code == 3
    ill = {finding["name"]: finding["advice"] for finding in json.loads(ran.out) if not finding["well"]}
    assert "make up" in ill["analyzer at 127.0.0.1:9"]
    assert len(ill) == 4


async def test_a_proposal_names_one_objective(world: World) -> None:
    """And what stands in its way is said."""
    where = ("--target", world.router.admin_target)
    ran = await cli("policy", "propose", *where)
    assert ran.code == 2
    assert "one of --quality-target and --mean-cost" in ran.err
    ran = await cli("policy", "promote", "nobody", *where)
    assert ran.code == 6
    assert "Traceback" not in ran.err


async def test_check_tells_which_policy_serves(tmp_path: Path) -> None:
    """The file's, until another one is promoted in its store."""
    path = tmp_path / "router.yaml"
    write(path, configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2/v1"))
    assert "the configuration's own, configured" in (await cli("check", "--config", str(path))).err
    (tmp_path / "ledger").mkdir()
    file = SqliteFile(tmp_path / "ledger" / "ledger.sqlite")
    file.migrate()
    store = PolicyStore(file)
    store.put(Version(Policy("better-1"), State.PROPOSED, "2026-11-23T00:00:00+00:00"))
    store.promote("better-1", "2026-11-23T00:00:00+00:00")
    assert "is better-1, promoted over" in (await cli("check", "--config", str(path))).err
