"""The process is prepared once, and what can't be had is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from analyzer.adapters import runtime
from analyzer.adapters.runtime import CpuFingerprint, RuntimeReport, cpu_fingerprint, force_instruction_set

AVX512 = CpuFingerprint("AMD EPYC", ("avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"))
AVX2 = CpuFingerprint("Intel Core", ("avx", "avx2"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test decides about the instruction set itself, and leaves none behind."""
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "")
    monkeypatch.delenv("CT2_FORCE_CPU_ISA")


def test_the_fingerprint_holds_model_and_inference_flags(tmp_path: Path) -> None:
    """Flags that do not matter to inference are left out; the key is fit for a file name."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 fma avx512f\n\nprocessor\t: 1\n")
    fingerprint = cpu_fingerprint(cpuinfo)
    assert fingerprint == CpuFingerprint("AMD EPYC", ("avx2", "avx512f", "fma"))
    assert fingerprint.key.startswith("amd-epyc-")
    assert "/" not in fingerprint.key


def test_an_arm_machine_has_a_fingerprint_too(tmp_path: Path) -> None:
    """Linux names the fields differently there."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd sve i8mm\nCPU part\t: 0xd40\n")
    assert cpu_fingerprint(cpuinfo) == CpuFingerprint("0xd40", ("asimd", "i8mm", "sve"))


def test_without_cpuinfo_the_platform_is_named(tmp_path: Path) -> None:
    """As on macOS."""
    assert cpu_fingerprint(tmp_path / "none").flags == ()


def test_avx512_is_forced_where_the_cpu_has_it() -> None:
    """CTranslate2 would not take it by itself on AMD."""
    warnings: list[str] = []
    assert force_instruction_set(None, AVX512, warnings) == "AVX512"
    assert warnings == []


def test_elsewhere_the_choice_is_left_to_the_engine() -> None:
    """No variable is set on a CPU without AVX512."""
    assert force_instruction_set(None, AVX2, []) is None


def test_a_pinned_instruction_set_the_cpu_lacks_is_a_warning() -> None:
    """Scores may differ a little; the golden prompts decide."""
    warnings: list[str] = []
    assert force_instruction_set("AVX512", AVX2, warnings) is None
    assert "lacks" in warnings[0]


def test_what_the_operator_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment wins over the revision, with a warning when they differ."""
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", "GENERIC")
    warnings: list[str] = []
    assert force_instruction_set("AVX2", AVX512, warnings) == "GENERIC"
    assert "calibrated on AVX2" in warnings[0]


def test_outside_linux_openmp_is_left_alone_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower, not broken."""
    monkeypatch.setattr(sys, "platform", "darwin")
    warnings: list[str] = []
    assert runtime.load_openmp(warnings) is None
    assert "slower" in warnings[0]


def test_a_malloc_that_is_not_glibcs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on musl."""
    monkeypatch.setattr(runtime.platform, "libc_ver", lambda: ("", ""))
    warnings: list[str] = []
    assert runtime.tune_malloc(warnings) is False
    assert "slower" in warnings[0]


def test_the_report_is_one_line_with_its_warnings() -> None:
    """What a person reads in the log at start-up."""
    report = RuntimeReport("libiomp5.so", 1, True, "AVX512", True, AVX512, ("something",))
    assert str(report) == (
        "AMD EPYC: AVX512 (forced), OpenMP libiomp5.so (block time 1 ms), malloc tuned; warning: something"
    )


def in_a_new_process(code: str) -> str:
    """Returns what a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_preparing_twice_gives_the_first_report() -> None:
    """Idempotent, and a contradiction is a warning."""
    code = """
from analyzer.adapters.runtime import RuntimeSettings, prepare
first = prepare(RuntimeSettings(instruction_set="GENERIC"))
print(prepare() is first, first.instruction_set, len(prepare(RuntimeSettings(instruction_set="AVX2")).warnings))
"""
    assert in_a_new_process(code) == "True GENERIC 1"


def test_preparing_after_the_engine_was_loaded_says_so() -> None:
    """Too late for OpenMP and the instruction set."""
    code = "import ctranslate2\nfrom analyzer.adapters.runtime import prepare\nprint(prepare().warnings[0])"
    assert "imported before" in in_a_new_process(code)
