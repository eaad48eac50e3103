"""`make up`: what it tells other tools, that it starts whole or says why not, and that it leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.free_ports import free_port_base
from tests.support.local_stack import BIN, ROOT, LocalStack, StackOptions, alive, start
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


def up(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a stack that can't start."""
    merged = os.environ | {"TINYROUTE_RUN": str(folder), "TINYROUTE_PORT_BASE": str(free_port_base(40))} | environment
    command = [sys.executable, "-m", "deploy.local.stack", "up"]
    return subprocess.run(command, cwd=ROOT, env=merged, capture_output=True, text=True, timeout=60, check=False)


def test_the_document_names_every_process(stack: LocalStack) -> None:
    """stack.json is what other tools find the system by."""
    document = json.loads((stack.folder / "stack.json").read_text())
    assert set(document) == {"router", "envoy", "json", "ui", "processes"}
    roles = sorted(process["role"] for process in document["processes"])
    assert roles == ["analyzer", "analyzer", "envoy", "model_server", "router", "telemetry"]
    for process in document["processes"]:
        assert set(process) == {"role", "pid", "address", "log"}
        assert alive(process["pid"])
        assert Path(process["log"]).is_file()
        host, port = process["address"].split(":")
        socket.create_connection((host, int(port)), timeout=2).close()


def test_reflection_lists_the_services(stack: LocalStack) -> None:
    """Through Envoy and past it."""
    for address in (stack.document["router"], stack.document["json"]):
        command = [BIN / "grpcurl", "-plaintext", address, "list"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        assert {"tinyroute.router.v1.RouterService", "grpc.health.v1.Health"} <= set(listed)


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    """It drains, and takes its document with it."""
    started = start(tmp_path, StackOptions(replicas=1))
    started.wait_ready()
    pids = started.pids()
    assert started.stop(signal.SIGINT) == 0
    assert [pid for pid in pids if alive(pid)] == []
    assert not (tmp_path / "stack.json").exists()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="the kernel is told by util-linux's setpriv")
async def test_even_killed_it_leaves_no_process_behind(tmp_path: Path) -> None:
    """The kernel ends the parts when the stack itself is killed."""
    started = start(tmp_path, StackOptions(replicas=1))
    started.wait_ready()
    pids = started.pids()
    started.stop(signal.SIGKILL)

    async def gone() -> bool:
        return not any(alive(pid) for pid in pids)

    await until(gone, "all parts have ended")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """With what it is for, and how to move."""
    base = free_port_base(40)
    with socket.create_server(("127.0.0.1", base)):
        done = up(tmp_path, TINYROUTE_PORT_BASE=str(base))
    assert done.returncode != 0
    assert f"port {base} (for the router) is in use" in done.stderr
    assert "TINYROUTE_PORT_BASE" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("REPLICAS", "10", "REPLICAS=10 is no number from 1 to 9"),
        ("CONFIG", "missing.yaml", "CONFIG=missing.yaml: there is no such file"),
        ("TINYROUTE_PORT_BASE", "80", "TINYROUTE_PORT_BASE=80 is no port"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    """Before anything is started."""
    done = up(tmp_path, **{variable: value})
    assert done.returncode != 0
    assert sentence in done.stderr


def test_a_part_that_does_not_start_is_named_with_its_log(tmp_path: Path) -> None:
    """And nothing else is left running: here the router's configuration is wrong."""
    config = tmp_path / "router.yaml"
    config.write_text("version: 1\nnonsense: true\n")
    done = up(tmp_path, CONFIG=str(config), REPLICAS="1")
    assert done.returncode != 0
    assert "router ended with exit code" in done.stderr
    assert "logs/router.log" in done.stderr
    assert "nonsense" in done.stderr
