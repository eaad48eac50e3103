"""Looks at everything the router leans on, with real calls that cost nothing, and says what to fix."""

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from router.adapters.analyzer_rung import AnalyzerRung, open_channel
from router.adapters.openai_client import OpenAIBackend
from router.adapters.sqlite_ledger import SqliteLedger
from router.analysis import RungFailed, SkipReason
from router.answer import AttemptOutcome, BackendFailed
from router.composition import catalogue
from router.request import Message, Role, RouteRequest
from router.settings import RouterSettings
from servicekit.deadline import Deadline
from servicekit.secret import SecretError

PROBE_SECONDS = 3.0
PROMPT = RouteRequest("doctor", "local", (Message(Role.USER, "What is the capital of France?"),))

ANALYZER_ADVICE: Mapping[SkipReason, str] = {
    SkipReason.UNAVAILABLE: "start the analyzers and Envoy (`make up` does both), or set analyzer.target",
    SkipReason.TIMEOUT: "it is reached but answers too late: fewer replicas on these cores, or a smaller model",
    SkipReason.OVERLOADED: "it is overloaded: more replicas, or fewer callers",
    SkipReason.UNDECIDED: "it answers nonsense: look at its log and at `analyzer model list`",
}

BACKEND_ADVICE: Mapping[AttemptOutcome, str] = {
    AttemptOutcome.UNAUTHENTICATED: "its key is refused: set another one in api_key",
    AttemptOutcome.UNAVAILABLE: "nothing answers there: start it, or set another base_url",
    AttemptOutcome.TIMEOUT: "it is reached but does not answer: look at its load",
    AttemptOutcome.BACKEND_ERROR: "it answers, but not as an OpenAI-compatible endpoint: does base_url end in /v1?",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: well or not, what was seen, and what to do about it."""

    name: str
    well: bool
    seen: str
    advice: str = ""


async def probe_all(settings: RouterSettings, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Yields a finding for analyzer, each backend, store, collector, in this order."""
    yield await probe_analyzer(settings)
    async for finding in probe_backends(settings, environment):
        yield finding
    yield await asyncio.to_thread(probe_store, settings)
    yield await asyncio.to_thread(probe_collector, environment)


async def probe_analyzer(settings: RouterSettings) -> Finding:
    """Analyses one prompt, the way requests do; the second of two, so that no first connection is measured."""
    name = f"analyzer at {settings.analyzer.target}"
    async with open_channel(settings.analyzer.target) as channel:
        rung = AnalyzerRung(channel, lambda _: "doctor")
        try:
            await rung.analyze(PROMPT, Deadline.after(PROBE_SECONDS))
            started = time.monotonic()
            analysis = await rung.analyze(PROMPT, Deadline.after(PROBE_SECONDS))
        except RungFailed as failure:
            return Finding(name, False, failure.reason.value.lower(), ANALYZER_ADVICE[failure.reason])
    took = (time.monotonic() - started) * 1000
    seen = f"revision {analysis.revision} answers in {took:.1f} ms"
    if took > settings.analyzer.timeout_ms:
        return Finding(name, False, seen, f"that is over its limit of {settings.analyzer.timeout_ms} ms")
    return Finding(name, True, seen)


async def probe_backends(settings: RouterSettings, environment: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Asks each backend for its models, which is free everywhere."""
    for tier, each in catalogue.backends(settings):
        name = f"backend {each.name} ({tier.name}, {each.model})"
        try:
            endpoint = catalogue.endpoint(each, environment)
        except SecretError as error:
            yield Finding(name, False, str(error), "set it, or name another place in api_key")
        else:
            yield await _measured(name, catalogue.backend(tier, each, endpoint, dict))


async def _measured(name: str, backend: OpenAIBackend) -> Finding:
    try:
        models = await backend.models(Deadline.after(PROBE_SECONDS))
    except BackendFailed as failure:
        advice = BACKEND_ADVICE.get(failure.outcome, "look at its log")
        return Finding(name, False, f"{failure.outcome.value.lower().replace('_', ' ')} ({failure})", advice)
    finally:
        await backend.close()
    if models and backend.model not in models:
        return Finding(name, True, f"answers, but does not list the model; it lists {', '.join(models[:5])}")
    return Finding(name, True, "answers")


def probe_store(settings: RouterSettings) -> Finding:
    """Writes and reads where the ledger is."""
    folder = settings.ledger.folder
    name = f"ledger in {folder}"
    if not settings.ledger.enabled:
        return Finding(name, True, "switched off")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        SqliteLedger(folder / "ledger.sqlite").migrate()
    except Exception as error:  # noqa: BLE001 - whatever ails the disk is the finding
        return Finding(
            name, False, f"{type(error).__name__}: {error}", "make the folder writable, or set ledger.folder"
        )
    return Finding(name, True, f"writable, {_free_gigabytes(folder):.1f} GB free")


def _free_gigabytes(folder: Path) -> float:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize / 1e9


def probe_collector(environment: Mapping[str, str]) -> Finding:
    """Opens a connection to the collector, if one is named."""
    endpoint = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint:
        return Finding("collector", True, "none is named; spans go nowhere (OTEL_EXPORTER_OTLP_ENDPOINT)")
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    name = f"collector at {parts.hostname}:{parts.port or 4317}"
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 4317), timeout=PROBE_SECONDS):
            return Finding(name, True, "takes connections")
    except OSError as error:
        return Finding(name, False, str(error), "start it, or unset OTEL_EXPORTER_OTLP_ENDPOINT")
