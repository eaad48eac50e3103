"""What machines check: generated code is fresh, lint, types, import contracts, protos, nothing of one machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", "*.binpb")
# A folder that only exists for one person or one machine. uv.lock and binary files aside.
PERSONAL = re.compile(r"(?<![\w.$}])/(?:home|root|work|Users)/\w")


def run(*command: str | Path) -> None:
    """Runs a tool in the project's root; its words are the failure's."""
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}  # protoc looks for its plug-ins there
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def committed() -> list[Path]:
    """Files under version control, or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def generated(folder: Path) -> dict[str, bytes]:
    """Generated files of a folder by their relative names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in GENERATED
        for path in folder.rglob(pattern)
    }


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    """`make protos` would change nothing."""
    run(sys.executable, "protos/codegen.py", "--out", tmp_path)
    fresh, kept = generated(tmp_path), generated(ROOT / "protos")
    assert sorted(fresh) == sorted(kept)
    assert [name for name in fresh if fresh[name] != kept[name]] == []


def test_protos_are_lint_free() -> None:
    """By the STANDARD and COMMENTS rules of buf."""
    run(sys.executable, "-c", "import sys; sys.path.insert(0, 'protos'); import codegen; codegen.link_googleapis()")
    run(BIN / "buf", "lint")


def test_import_contracts_hold() -> None:
    """Who may import what."""
    run(BIN / "lint-imports", "--no-cache")


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_has_nothing_to_say(command: tuple[str, ...]) -> None:
    """Rules and format."""
    run(BIN / "ruff", *command, ".")


@pytest.mark.timeout(400)
def test_types_hold() -> None:
    """mypy, strict."""
    run(BIN / "mypy")


def test_nothing_names_a_folder_of_one_machine() -> None:
    """Paths that mean nothing elsewhere."""
    found = []
    for path in committed():
        numbered = enumerate(lines_of(path), start=1) if path.name != "uv.lock" else ()
        name = path.relative_to(ROOT)
        found += [f"{name}:{number}: {line.strip()[:120]}" for number, line in numbered if PERSONAL.search(line)]
    assert found == []


def lines_of(path: Path) -> list[str]:
    """Lines of a text file; none of a binary one."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
