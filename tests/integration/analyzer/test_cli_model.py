"""`analyzer model` as a person or a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analyzer.adapters import runtime
from analyzer.cli.model import ModelTools, model
from tests.support.llama_checkpoints import (
    RandomCheckpoint,
    byte_level_source,
    tiny_shape,
    write_gguf,
    write_huggingface,
)

runtime.prepare()


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    """A tiny GGUF file."""
    return write_gguf(tmp_path / "tiny.gguf", RandomCheckpoint(tiny_shape(), byte_level_source()))


class Shell:
    """Runs commands on one store, on a machine of a given speed."""

    def __init__(self, root: Path, p99_ms: float = 10.0) -> None:
        self.root = root
        self.tools = ModelTools(measure=lambda _folder: p99_ms, cache=root / "cache")

    def __call__(self, *arguments: str) -> Result:
        """Returns the outcome of `analyzer model ARGUMENTS`."""
        return CliRunner().invoke(model, arguments, obj=self.tools, env={"TINYROUTE_MODELS": str(self.root / "m")})


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell over an empty store."""
    return Shell(tmp_path)


def test_import_tells_the_exact_next_commands(shell: Shell, gguf_file: Path) -> None:
    """A base without a head: train one, or activate it for the label judge."""
    result = shell("import", str(gguf_file))
    assert result.exit_code == 0, result.output
    assert "next: analyzer train --base tiny-test-3of3-int8 --data FILE" in result.stdout
    assert "next: analyzer model activate tiny-test-3of3-int8" in result.stdout


def test_a_folder_is_imported_with_fewer_layers_under_a_name(shell: Shell, tmp_path: Path) -> None:
    """The Hugging Face form, early exit, a name of one's own, JSON out."""
    folder = write_huggingface(tmp_path / "hf", RandomCheckpoint(tiny_shape(), byte_level_source()))
    result = shell("import", str(folder), "--layers", "2", "--name", "mine", "--json")
    facts = json.loads(result.stdout)
    assert (facts["revision"], facts["layers"], facts["judge"]) == ("mine", "2 of 3", "untrained")
    assert facts["next"][0] == "analyzer train --base mine --data FILE"


def test_activate_list_verify_and_rollback_work_together(shell: Shell, gguf_file: Path) -> None:
    """The life of two revisions."""
    shell("import", str(gguf_file), "--name", "one")
    shell("import", str(gguf_file), "--name", "two", "--layers", "1")
    assert "active: one (64 tokens in 10 ms p99)" in shell("activate", "one").stdout
    assert json.loads(shell("activate", "two", "--json").stdout) == {"active": "two", "p99_ms": 10.0}
    listed = json.loads(shell("list", "--json").stdout)
    assert {row["revision"]: row["active"] for row in listed["revisions"]} == {"one": False, "two": True}
    assert "two" in shell("list").stdout
    assert json.loads(shell("verify", "--json").stdout) == {"one": "ok", "two": "ok"}
    assert shell("rollback").stdout == "active: one\n"


def test_a_slow_machine_refuses_and_force_overrules(gguf_file: Path, tmp_path: Path) -> None:
    """Exit code 1 and the way out; then done anyway."""
    shell = Shell(tmp_path, p99_ms=180.0)
    shell("import", str(gguf_file), "--name", "one")
    refused = shell("activate", "one")
    assert refused.exit_code == 1
    assert "180 ms" in refused.stderr
    assert "--force" in refused.stderr
    assert shell("activate", "one", "--force").exit_code == 0


def test_verify_fails_when_a_file_was_changed(shell: Shell, gguf_file: Path) -> None:
    """Exit code 1, the damaged revision named, the others checked all the same."""
    shell("import", str(gguf_file), "--name", "one")
    shell("import", str(gguf_file), "--name", "two")
    (shell.root / "m/revisions/one/config.json").write_text("{}")
    result = shell("verify")
    assert result.exit_code == 1
    assert "one: " in result.stdout
    assert "two: ok" in result.stdout


def test_importing_the_same_again_changes_nothing(shell: Shell, gguf_file: Path) -> None:
    """A repeated import verifies what is there."""
    shell("import", str(gguf_file))
    before = (shell.root / "m/revisions/tiny-test-3of3-int8/manifest.json").stat().st_mtime_ns
    assert shell("import", str(gguf_file)).exit_code == 0
    assert (shell.root / "m/revisions/tiny-test-3of3-int8/manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["list"], 0, "analyzer model pull default"),
        (["activate", "nope"], 1, "no revision nope"),
        (["rollback"], 1, "nothing to roll back"),
        (["verify", "nope"], 1, "no revision nope"),
        (["import", "/no/such/file"], 2, "neither a file"),
        (["pull", "something"], 2, "default"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(
    arguments: list[str], exit_code: int, message: str, shell: Shell
) -> None:
    """No traceback, the documented exit code, and what to do."""
    result = shell(*arguments)
    assert result.exit_code == exit_code
    assert message in result.output


def test_a_damaged_file_is_a_plain_error(shell: Shell, gguf_file: Path) -> None:
    """Truncated input: one sentence, exit code 1, an empty store."""
    gguf_file.write_bytes(gguf_file.read_bytes()[:5000])
    result = shell("import", str(gguf_file))
    assert result.exit_code == 1
    assert "fetch it again" in result.stderr
    assert json.loads(shell("list", "--json").stdout)["revisions"] == []
