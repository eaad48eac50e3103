"""Generates the Python code beside each .proto file, and the descriptor set that Envoy transcodes JSON with.

Usage: python protos/codegen.py [--out DIR], where DIR defaults to this folder.
"""

import argparse
import shutil
import sys
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
GOOGLEAPIS = PROTOS.parent / "build" / "googleapis"
DESCRIPTOR_SET = "tinyroute.binpb"


def main() -> None:
    """Generates everything into the folder the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROTOS, help="folder to write into (default: here)")
    out = parser.parse_args().out
    link_googleapis()
    generate(out)


def link_googleapis() -> None:
    """Lays the google/ schemas that ours import under build/, where buf.yaml looks for them."""
    google = Path(status_pb2.__file__).parents[1]
    for name in ("api/annotations.proto", "api/http.proto", "rpc/status.proto", "rpc/error_details.proto"):
        target = GOOGLEAPIS / "google" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(google / name, target)


def sources() -> list[str]:
    """Names of all our .proto files, relative to protos/."""
    return sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))


def generate(out: Path) -> None:
    """Runs protoc: messages and stubs into `out`, and the descriptor set with error details for Envoy.

    Exits with protoc's code when a file is wrong; protoc has said why.
    """
    out.mkdir(parents=True, exist_ok=True)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    include = [f"-I{PROTOS}", f"-I{GOOGLEAPIS}", f"-I{well_known}"]
    ours = [name for name in sources() if name.startswith("tinyroute/")]
    services = [name for name in ours if "service " in (PROTOS / name).read_text()]
    run(include, [f"--python_out={out}", f"--mypy_out=quiet:{out}"], sources())
    run(include, [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"], services)
    options = ["--include_imports", f"--descriptor_set_out={out / DESCRIPTOR_SET}"]
    run(include, options, [*services, "google/rpc/error_details.proto"])


def run(include: list[str], options: list[str], names: list[str]) -> None:
    """One protoc run."""
    code = protoc.main(["protoc", *include, *options, *names])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
