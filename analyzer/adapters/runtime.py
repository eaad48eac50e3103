"""Prepares the process for fast CTranslate2 inference on a CPU. Must run before the first `import ctranslate2`.

Three things, each measured to matter: LLVM's OpenMP runtime in place of libgomp, whose worker threads fall asleep
between CTranslate2's hundreds of small parallel regions (2 to 3 times); a malloc that keeps big buffers instead of
returning them to the kernel in every layer (up to 1.7 times for long inputs); and AVX512 kernels, which CTranslate2
does not choose by itself on AMD (1.1 to 1.2 times). Where one can't be had, inference is slower and the report says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

_AVX512_FLAGS = frozenset({"avx512f", "avx512cd", "avx512vl", "avx512bw", "avx512dq"})
_OPENMP_SYSTEM_NAMES = ("libomp.so.5", "libiomp5.so", "libomp.so")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**31 - 1
_MMAP_THRESHOLDS_BYTES = (2**30, 2**25)  # glibc refuses what is above half a heap: 32 MiB unless it was built larger


@dataclass(frozen=True)
class RuntimeSettings:
    """What to ask for. `instruction_set` None means the best one this CPU has."""

    instruction_set: str | None = None
    block_time_ms: int = 1
    openmp: bool = True
    malloc: bool = True


@dataclass(frozen=True)
class CpuFingerprint:
    """The CPU's model name and the instruction-set flags that matter to inference."""

    model: str
    flags: tuple[str, ...]

    @property
    def key(self) -> str:
        """A short stable text for file names and cache keys."""
        digest = hashlib.sha256("\n".join((self.model, *self.flags)).encode()).hexdigest()[:8]
        return f"{'-'.join(self.model.lower().split())[:48] or 'unknown'}-{digest}"


@dataclass(frozen=True)
class RuntimeReport:
    """What was found and chosen; `str()` gives one line for people."""

    openmp: str | None
    block_time_ms: int
    malloc_tuned: bool
    instruction_set: str
    forced: bool
    cpu: CpuFingerprint
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        openmp = f"{self.openmp} (block time {self.block_time_ms} ms)" if self.openmp else "libgomp"
        malloc = "tuned" if self.malloc_tuned else "as it is"
        chosen = "forced" if self.forced else "chosen by CTranslate2"
        line = f"{self.cpu.model}: {self.instruction_set} ({chosen}), OpenMP {openmp}, malloc {malloc}"
        return "; ".join((line, *(f"warning: {warning}" for warning in self.warnings)))


_prepared: list[tuple[RuntimeSettings, RuntimeReport]] = []


def prepare(settings: RuntimeSettings | None = None) -> RuntimeReport:
    """Sets the process up and returns what came of it; later calls return the first call's report.

    Never raises: what can't be had, came too late (ctranslate2 was imported already) or contradicts the first call
    is a warning in the report.
    """
    wanted = settings or RuntimeSettings()
    if _prepared:
        first, report = _prepared[0]
        if wanted.instruction_set in (None, first.instruction_set, report.instruction_set):
            return report
        late = f"{wanted.instruction_set} was asked for after {report.instruction_set} was set"
        return replace(report, warnings=(*report.warnings, late))
    report = _prepare(wanted)
    _prepared.append((wanted, report))
    return report


def _prepare(settings: RuntimeSettings) -> RuntimeReport:
    cpu = cpu_fingerprint()
    warnings: list[str] = []
    late = "ctranslate2" in sys.modules
    if late:
        warnings.append(
            "ctranslate2 was imported before the runtime was prepared: OpenMP and instruction set are as is"
        )
    os.environ.setdefault("KMP_BLOCKTIME", str(settings.block_time_ms))
    openmp = load_openmp(warnings) if settings.openmp and not late else None
    tuned = tune_malloc(warnings) if settings.malloc else False
    forced = None if late else force_instruction_set(settings.instruction_set, cpu, warnings)
    return RuntimeReport(
        openmp=openmp,
        block_time_ms=int(os.environ["KMP_BLOCKTIME"]) if os.environ["KMP_BLOCKTIME"].isdigit() else -1,
        malloc_tuned=tuned,
        instruction_set=forced or os.environ.get("CT2_FORCE_CPU_ISA") or _own_choice(cpu),
        forced=bool(forced),
        cpu=cpu,
        warnings=tuple(warnings),
    )


def load_openmp(warnings: list[str]) -> str | None:
    """Loads LLVM's OpenMP runtime for all libraries to come and returns its file name, or None with a warning."""
    if sys.platform != "linux":
        warnings.append("LLVM's OpenMP runtime is only loaded on Linux; inference may be slower")
        return None
    for candidate in (*_packaged_openmp(), *_OPENMP_SYSTEM_NAMES):
        with contextlib.suppress(OSError):
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
            return Path(candidate).name
    warnings.append(
        "LLVM's OpenMP runtime was not found (package intel-openmp, or Debian's libomp5): 2 to 3 times slower"
    )
    return None


def _packaged_openmp() -> list[str]:
    try:
        files = metadata.distribution("intel-openmp").files or []
    except metadata.PackageNotFoundError:
        return []
    found = [Path(str(file.locate())).resolve() for file in files if file.name == "libiomp5.so"]
    return [str(path) for path in found if path.is_file()]


def tune_malloc(warnings: list[str]) -> bool:
    """Tells glibc's malloc to keep freed memory; says False, with a warning, where there is no glibc."""
    if platform.libc_ver()[0] != "glibc":
        warnings.append("malloc is not glibc's, so it is left as it is: long inputs may be slower")
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MMAP_THRESHOLDS_BYTES)
    if kept and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES):
        return True
    warnings.append("glibc refused the malloc settings: long inputs may be slower")
    return False


def force_instruction_set(wanted: str | None, cpu: CpuFingerprint, warnings: list[str]) -> str | None:
    """Returns the instruction set CTranslate2 is made to use, or None when the choice is left to it."""
    if already := os.environ.get("CT2_FORCE_CPU_ISA"):
        if wanted not in (None, already):
            warnings.append(f"CT2_FORCE_CPU_ISA is {already}, the revision was calibrated on {wanted}")
        return already
    choice = wanted or ("AVX512" if cpu.flags and set(cpu.flags) >= _AVX512_FLAGS else None)
    if choice is None:
        return None
    if not _has(cpu, choice):
        warnings.append(
            f"the revision was calibrated on {choice}, which this CPU lacks: scores may differ by about 1 %"
        )
        return None
    os.environ["CT2_FORCE_CPU_ISA"] = choice
    return choice


def _has(cpu: CpuFingerprint, instruction_set: str) -> bool:
    needed = {"AVX512": _AVX512_FLAGS, "AVX2": {"avx2"}, "AVX": {"avx"}, "GENERIC": set[str]()}
    return instruction_set in needed and set(cpu.flags) >= needed[instruction_set]


def _own_choice(cpu: CpuFingerprint) -> str:
    """Returns what CTranslate2 takes by itself: on AMD never AVX512."""
    if platform.machine() in {"arm64", "aarch64"}:
        return "NEON"
    if "amd" not in cpu.model.lower() and _has(cpu, "AVX512"):
        return "AVX512"
    return next((name for name in ("AVX2", "AVX") if _has(cpu, name)), "GENERIC")


def cpu_fingerprint(cpuinfo: Path = Path("/proc/cpuinfo")) -> CpuFingerprint:
    """Returns this machine's CPU, as far as the system tells."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return CpuFingerprint(platform.processor() or platform.machine(), ())
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    wanted = ("avx", "amx", "fma", "sse4", "asimd", "sve", "i8mm", "bf16")
    model = fields.get("model name") or fields.get("CPU part") or platform.machine()
    return CpuFingerprint(model, tuple(sorted(flag for flag in flags if flag.startswith(wanted))))
