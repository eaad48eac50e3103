"""`analyzer serve` as a process: it starts with a real model, serves, drains, and says what keeps it from starting."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tinyroute.analyzer.v1 import analyzer_pb2, analyzer_pb2_grpc
from tinyroute.prompt.v1 import prompt_pb2

SERVICE = "tinyroute.analyzer.v1.AnalyzerService"


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, any free ports, a short drain."""
    ports = {f"TINYROUTE_ANALYZER__{name}__PORT": "0" for name in ("LISTEN", "ADMIN", "METRICS")}
    quick = {"TINYROUTE_ANALYZER__STOP__QUIET_SECONDS": "0.2", "TINYROUTE_ANALYZER__MODEL__THREADS": "1"}
    return {**os.environ, **ports, **quick, **changes}


def started(*arguments: str, **changes: str) -> subprocess.Popen[str]:
    """A running `analyzer serve`."""
    return subprocess.Popen(
        [sys.executable, "-m", "analyzer", "serve", *arguments],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(*arguments: str, **changes: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one that ends by itself."""
    process = started(*arguments, **changes)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service with the default model, and its port."""
    process = started()
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"ready on port (\d+)", line)
    if found is None:
        process.kill()
        pytest.fail(f"analyzer serve did not start: {line}{process.communicate()[1]}")
    yield process, int(found[1])
    process.kill()
    process.communicate()


def analysed(port: int, text: str) -> Any:
    """The analysis of one message."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        message = prompt_pb2.Message(role=prompt_pb2.ROLE_USER, content=text)
        stub = analyzer_pb2_grpc.AnalyzerServiceStub(channel)
        return stub.AnalyzePrompt(analyzer_pb2.AnalyzePromptRequest(messages=[message]), timeout=20).analysis


@pytest.mark.model
def test_the_default_model_analyses_prompts(service: tuple[subprocess.Popen[str], int]) -> None:
    """Three abilities that never decrease, from a real forward pass."""
    found = analysed(service[1], "Design a payment system that survives the loss of a region and never pays twice.")
    probabilities = [each.probability for each in found.success]
    assert probabilities == sorted(probabilities)
    assert len(probabilities) == 3
    assert found.timings.forward.ToNanoseconds() > 0
    assert found.prompt_token_count > 10
    assert found.model_revision


@pytest.mark.model
@pytest.mark.parametrize("text", ["?", "\x00", "<|im_start|>system", "🦆" * 50, "a" * 20_000, "\u200b"])
def test_any_text_is_analysed(service: tuple[subprocess.Popen[str], int], text: str) -> None:
    """Control tokens spelled out are text."""
    assert len(analysed(service[1], text).success) == 3


@pytest.mark.model
def test_health_and_reflection_tell_the_service(service: tuple[subprocess.Popen[str], int]) -> None:
    """By name, and as a whole."""
    with grpc.insecure_channel(f"127.0.0.1:{service[1]}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in (SERVICE, ""):
            status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


@pytest.mark.model
def test_a_terminated_service_drains_and_exits_with_success() -> None:
    """NOT_SERVING first; the calls in flight end."""
    process = started()
    assert process.stdout is not None
    found = re.search(r"ready on port (\d+)", process.stdout.readline())
    assert found is not None
    with grpc.insecure_channel(f"127.0.0.1:{found[1]}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err


def test_a_missing_model_says_how_to_get_one(tmp_path: Path) -> None:
    """The exact command."""
    code, _, err = outcome(TINYROUTE_MODELS=str(tmp_path))
    assert code == 1
    assert "analyzer model pull default" in err


def test_a_port_in_use_is_told_with_its_number(tmp_path: Path) -> None:
    """Before any model is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = outcome(TINYROUTE_MODELS=str(tmp_path), TINYROUTE_ANALYZER__LISTEN__PORT=port)
    assert code == 1
    assert f"port {port} is in use" in err


def test_a_bad_configuration_names_line_and_field(tmp_path: Path) -> None:
    """Exit code 2."""
    path = tmp_path / "analyzer.yaml"
    path.write_text("version: 1\nlisten:\n  prot: 1\nbatching: {tokens_a_batch: many}\n")
    code, _, err = outcome("--config", str(path))
    assert code == 2
    assert f"{path}:3: listen.prot: unknown key" in err
    assert f"{path}:4: batching.tokens_a_batch: " in err


def test_the_effective_configuration_and_the_schema_are_printed(tmp_path: Path) -> None:
    """The first can be read back by the service."""
    code, out, _ = outcome("--check", TINYROUTE_ANALYZER__LISTEN__PORT="50055")
    assert code == 0
    assert "port: 50055" in out
    path = tmp_path / "analyzer.yaml"
    path.write_text(out)
    assert outcome("--check", "--config", str(path), TINYROUTE_ANALYZER__LISTEN__PORT="50055")[1] == out
    assert '"additionalProperties": false' in outcome("--schema")[1]


@pytest.mark.model
def test_metrics_are_served() -> None:
    """On their own port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = started(TINYROUTE_ANALYZER__METRICS__PORT=str(port))
    assert process.stdout is not None
    process.stdout.readline()
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    process.terminate()
    process.communicate(timeout=20)
    assert "tinyroute_analyzer_forward_duration_seconds_count" in text
    assert "tinyroute_analyzer_revision_info" in text


@pytest.mark.model
def test_a_changed_file_is_applied_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    """On SIGHUP; the service goes on either way."""
    path = tmp_path / "analyzer.yaml"
    path.write_text("version: 1\n")
    process = started("--config", str(path))
    assert process.stdout is not None
    process.stdout.readline()
    path.write_text("batching: {most_waiting: 0}\n")
    process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    path.write_text("batching: {most_waiting: 9}\nreflection: false\n")
    process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert f"{path}:1: batching.most_waiting" in err
    assert "configuration applied" in err
    assert "some changes take a restart" in err
