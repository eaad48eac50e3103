"""Calls through the whole system: clients in gRPC and JSON, the README's own lines, and bad input."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc_tools
import pytest
from google.rpc import status_pb2
from grpc_tools import protoc
from tinyroute.analyzer.v1 import analyzer_pb2
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

from tests.support.local_stack import BIN, ROOT, LocalStack

pytestmark = pytest.mark.e2e

SELF_HOSTED = {f"ANALYSIS_SOURCE_{source}" for source in ("MODEL", "CACHE_EXACT", "CACHE_SIMILAR", "COALESCED")}
CLIENT = """
import sys, grpc
from tinyroute.prompt.v1 import prompt_pb2
from tinyroute.router.v1 import router_pb2, router_pb2_grpc

assert router_pb2.__file__.startswith(sys.argv[2]), router_pb2.__file__
message = prompt_pb2.Message(role="ROLE_USER", content="Name a colour.")
settings = router_pb2.GenerationSettings(max_output_tokens=8)
with grpc.insecure_channel(sys.argv[1]) as channel:
    request = router_pb2.RouteRequest(messages=[message], generation=settings)
    print(router_pb2_grpc.RouterServiceStub(channel).Route(request, timeout=30).text)
"""


def post(stack: LocalStack, path: str, body: Any) -> tuple[int, str]:
    """Makes one HTTP call with curl; returns status and body."""
    command = ["curl", "-sSN", "-w", "\n%{http_code}", "-H", "content-type: application/json", "--data-binary", "@-"]
    address = f"http://{stack.document['json']}{path}"
    done = run(*command, address, sent=json.dumps(body))
    assert done.returncode == 0, done.stderr
    content, _, status = done.stdout.rpartition("\n")
    return int(status), content


def run(*command: str | Path, sent: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a program as someone would who has the project's tools on the path."""
    environment = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(
        command, input=sent, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def prompt(text: str, **more: Any) -> dict[str, Any]:
    """A request's JSON."""
    return {"messages": [{"role": "ROLE_USER", "content": text}], "generation": {"max_output_tokens": 8}} | more


def block(name: str) -> str:
    """A code block of the README that says it is tested."""
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"the README has no block tested as {name}"
    return found[1]


def moved(text: str, stack: LocalStack) -> str:
    """The README's lines, on this stack's ports."""
    return text.replace("127.0.0.1:50050", stack.document["router"]).replace("127.0.0.1:8080", stack.document["json"])


def test_decide_in_json(stack: LocalStack) -> None:
    """By the self-hosted analyzer, with every tier considered and nothing dispatched."""
    status, body = post(stack, "/v1/decide", prompt("What is 2 + 2?"))
    decision = json.loads(body)["decision"]
    assert status == 200
    assert decision["analysis_source"] in SELF_HOSTED
    assert [each["tier"] for each in decision["considered"]] == ["TIER_SMALL", "TIER_MEDIUM", "TIER_LARGE"]


def test_route_in_json(stack: LocalStack) -> None:
    """An answer, its tokens, its cost and its reasons."""
    status, body = post(stack, "/v1/route", prompt("Name a colour.", request_id="json-1"))
    answer = json.loads(body)
    assert (status, answer["request_id"]) == (200, "json-1")
    assert answer["text"]
    assert answer["usage"]["output_token_count"] > 0
    assert int(answer["cost"]["total_micros"]) > 0
    assert answer["attempts"][-1]["outcome"] == "ATTEMPT_OUTCOME_ANSWERED"


def test_a_stream_in_json_is_one_message_a_line(stack: LocalStack) -> None:
    """The first carries the decision, the last one how it ended and what it cost."""
    status, body = post(stack, "/v1/route:stream", prompt("Name a colour."))
    first, *between, last = [json.loads(line) for line in body.strip().splitlines()]
    assert status == 200
    assert first["decision"]["tier"] != "TIER_UNSPECIFIED"
    assert "".join(piece["delta"] for piece in [first, *between, last])
    assert last["finish_reason"] != "FINISH_REASON_UNSPECIFIED"
    assert int(last["cost"]["total_micros"]) > 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        (prompt(" "), "messages"),
        (prompt("x" * 300_000), "messages"),
        ({"messages": [{"role": "ROLE_ASSISTANT", "content": "Hi"}]}, "messages"),
        (prompt("Hi", request_id="not a name"), "request_id"),
    ],
    ids=["no message", "blank", "over 256 KiB", "not the user last", "bad request id"],
)
def test_bad_input_names_the_field(stack: LocalStack, body: Any, field: str) -> None:
    """INVALID_ARGUMENT with BadRequest and ErrorInfo."""
    status, answer = post(stack, "/v1/decide", body)
    details = {detail["@type"].rpartition(".")[2]: detail for detail in json.loads(answer)["details"]}
    assert status == 400
    assert details["ErrorInfo"]["domain"] == "tinyroute"
    assert any(violation["field"].startswith(field) for violation in details["BadRequest"]["field_violations"])


def test_an_unparsable_message_is_refused_and_costs_no_host(stack: LocalStack) -> None:
    """Neither at the front nor between router and analyzers; unknown methods cost none either."""
    calls = {
        stack.document["router"]: "/tinyroute.router.v1.RouterService/Decide",
        stack.document["json"]: "/tinyroute.router.v1.RouterService/Decide",
        stack.document["envoy"]: "/tinyroute.analyzer.v1.AnalyzerService/AnalyzePrompt",
    }
    for address, method in calls.items():
        with grpc.insecure_channel(address) as channel:
            for name, code in ((method, "INVALID_ARGUMENT"), (f"{method}Nonsense", "UNIMPLEMENTED")):
                call = channel.unary_unary(name, request_serializer=bytes, response_deserializer=bytes)
                for _ in range(30):
                    with pytest.raises(grpc.RpcError) as refused:
                        call(b"\xff\xff\xff\xff", timeout=10)
                    assert refused.value.code().name == code
                    assert "Traceback" not in (refused.value.details() or "")
    figures = stack.envoy_counters(
        "^cluster.analyzers.(membership_healthy|outlier_detection.ejections_enforced_total)$"
    )
    assert figures["cluster.analyzers.membership_healthy"] == 2
    assert figures["cluster.analyzers.outlier_detection.ejections_enforced_total"] == 0


def test_errors_carry_their_details_over_grpc(stack: LocalStack) -> None:
    """The same as in JSON."""
    with grpc.insecure_channel(stack.document["json"]) as channel, pytest.raises(grpc.RpcError) as refused:
        router_pb2_grpc.RouterServiceStub(channel).Decide(router_pb2.DecideRequest(), timeout=10)
    metadata: Any = refused.value.trailing_metadata()
    packed = dict(metadata)["grpc-status-details-bin"]
    names = [detail.type_url.rpartition(".")[2] for detail in status_pb2.Status.FromString(packed).details]
    assert {"ErrorInfo", "BadRequest"} <= set(names)


def test_a_batch_of_analyses_goes_through_envoy(stack: LocalStack) -> None:
    """Each item for itself."""
    method = "/tinyroute.analyzer.v1.AnalyzerService/BatchAnalyzePrompts"
    good = analyzer_pb2.AnalyzePromptRequest(messages=[prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content="Hi")])
    request = analyzer_pb2.BatchAnalyzePromptsRequest(requests=[good, analyzer_pb2.AnalyzePromptRequest()])
    with grpc.insecure_channel(stack.document["envoy"]) as channel:
        call = channel.unary_unary(
            method,
            request_serializer=analyzer_pb2.BatchAnalyzePromptsRequest.SerializeToString,
            response_deserializer=analyzer_pb2.BatchAnalyzePromptsResponse.FromString,
        )
        first, second = call(request, timeout=20).results
    assert len(first.analysis.success) == 3
    assert second.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_a_client_compiled_from_the_protos_alone_can_call(stack: LocalStack, tmp_path: Path) -> None:
    """With nothing but protoc, our .proto files and the published google/api ones."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    googleapis = Path(status_pb2.__file__).parents[2]
    protos = ROOT / "protos"
    sources = [path.relative_to(protos).as_posix() for path in protos.rglob("*.proto")]
    include = [f"-I{protos}", f"-I{googleapis}", f"-I{well_known}"]
    assert protoc.main(["protoc", *include, f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", *sources]) == 0
    (tmp_path / "client.py").write_text(CLIENT)
    done = run(sys.executable, "client.py", stack.document["json"], tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_python_client_of_the_readme_runs(stack: LocalStack, tmp_path: Path) -> None:
    """As it is printed there."""
    client = tmp_path / "client.py"
    client.write_text(moved(block("python"), stack))
    done = subprocess.run(
        [sys.executable, client], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "TIER_" in done.stdout


@pytest.mark.parametrize("name", ["grpcurl", "curl"])
def test_the_command_lines_of_the_readme_run(stack: LocalStack, name: str) -> None:
    """As they are printed there."""
    line = moved(block(name), stack)
    environment = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "TIER_" in done.stdout
