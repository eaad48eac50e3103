"""Analyses kept: of the same prompt (exact), and of one that only differs in what carries no meaning (similar).

Keys hold tenant and revision, so that neither is ever answered from another's. Bounded in bytes; what was used longest
ago goes first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from analyzer.analysis import Analysis
from analyzer.conversation import Prompt
from servicekit.fingerprint import Signature, exact_key, signature

Value = TypeVar("Value")

# What an entry takes in memory, measured by tests/unit/analyzer/test_caching.py.
_ENTRY_BYTES = 1_700
_SIMILAR_ENTRY_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How much is kept, and when a similar prompt is similar enough."""

    exact_bytes: int = 32 * 2**20
    similar_bytes: int = 32 * 2**20
    similar: bool = True
    least_similarity: float = 0.4
    """Of the whole wording; the meaning has to be equal anyway."""


@dataclass(frozen=True, slots=True)
class PromptKeys:
    """A prompt's place in the caches."""

    exact: bytes
    similar: bytes | None = None
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class SimilarHit:
    """An analysis of a near-duplicate, and how near, 0..1."""

    analysis: Analysis
    similarity: float


class AnalysisCache:
    """Both caches of one replica."""

    def __init__(self, settings: CacheSettings | None = None) -> None:
        self._settings = settings or CacheSettings()
        self._exact: BoundedCache[Analysis] = BoundedCache(self._settings.exact_bytes, _ENTRY_BYTES)
        self._similar: BoundedCache[tuple[Signature, Analysis]] = BoundedCache(
            self._settings.similar_bytes, _SIMILAR_ENTRY_BYTES
        )

    def __repr__(self) -> str:
        return f"<AnalysisCache exact {self._exact!r}, similar {self._similar!r}>"

    def exact(self, keys: PromptKeys) -> Analysis | None:
        """Returns the analysis of the same prompt."""
        return self._exact.get(keys.exact)

    def similar(self, keys: PromptKeys) -> SimilarHit | None:
        """Returns the analysis of a near-duplicate."""
        if keys.similar is None or keys.signature is None:
            return None
        found = self._similar.get(keys.similar)
        if found is None:
            return None
        similarity = keys.signature.similarity(found[0])
        if similarity < self._settings.least_similarity:
            return None
        return SimilarHit(found[1], similarity)

    def keep(self, keys: PromptKeys, analysis: Analysis) -> None:
        """Keeps an analysis under all keys of its prompt."""
        self._exact.put(keys.exact, analysis)
        if keys.similar is not None and keys.signature is not None:
            self._similar.put(keys.similar, (keys.signature, analysis))

    def exact_keys(self, prompt: Prompt, revision: str) -> PromptKeys:
        """Returns the key of the same prompt: role and content of every message."""
        parts = [part for message in prompt.messages for part in (message.role, message.content)]
        return PromptKeys(_scoped(prompt.tenant, revision, exact_key(parts)))

    def with_similar_key(self, keys: PromptKeys, prompt: Prompt, revision: str) -> PromptKeys:
        """Returns the keys with that of near-duplicates: earlier messages exactly, the last one by its meaning."""
        *earlier, last = prompt.messages
        found = signature(last.content) if self._settings.similar else None
        if found is None:
            return keys
        context = exact_key([part for message in earlier for part in (message.role, message.content)])
        return PromptKeys(keys.exact, _scoped(prompt.tenant, revision, context + found.meaning), found)


class BoundedCache(Generic[Value]):
    """A least-recently-used cache bounded in bytes, each entry counted with a fixed size."""

    def __init__(self, most_bytes: int, entry_bytes: int) -> None:
        self._most_entries = most_bytes // entry_bytes
        self._entry_bytes = entry_bytes
        self._entries: OrderedDict[bytes, Value] = OrderedDict()

    def __repr__(self) -> str:
        return f"{len(self._entries)} of {self._most_entries} entries"

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def byte_count(self) -> int:
        """About what the entries take."""
        return len(self._entries) * self._entry_bytes

    def get(self, key: bytes) -> Value | None:
        """Returns a value and makes it the most recently used one."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Keeps a value; drops the least recently used ones that no longer fit."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._most_entries:
            self._entries.popitem(last=False)


def _scoped(tenant: str, revision: str, key: bytes) -> bytes:
    """Returns 16 bytes for a key of one tenant and revision."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (tenant.encode("utf-8", "surrogatepass"), revision.encode(), key):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
