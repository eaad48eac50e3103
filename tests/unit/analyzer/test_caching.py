"""Caches answer what they may, keep tenants and revisions apart, and stay within their bytes."""

import json
import tracemalloc
from pathlib import Path

import pytest

from analyzer.caching import _ENTRY_BYTES, _SIMILAR_ENTRY_BYTES, AnalysisCache, BoundedCache, CacheSettings, PromptKeys
from analyzer.conversation import Message, Prompt
from analyzer.framing import Frame
from servicekit.deadline import Deadline
from tests.support.fake_model import FakeJudge, prompt

DATA = Path(__file__).parents[2] / "data"


def keys(cache: AnalysisCache, asked: Prompt, revision: str = "r1") -> PromptKeys:
    """All keys of a prompt."""
    return cache.with_similar_key(cache.exact_keys(asked, revision), asked, revision)


def analysis(score: int = 500) -> object:
    """An analysis."""
    return FakeJudge().judge([float(score)], Frame((1,), 1, truncated=False))


def hits(a: str, b: str) -> bool:
    """Whether the answer to `a` is given to `b`, exactly or by similarity."""
    cache = AnalysisCache()
    cache.keep(keys(cache, prompt(a)), analysis())
    found = keys(cache, prompt(b))
    return cache.exact(found) is not None or cache.similar(found) is not None


def pairs(name: str) -> list[tuple[str, str]]:
    """Pairs of prompts from a data file."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [(row["a"], row["b"]) for row in map(json.loads, lines)]


def test_no_lookalike_is_taken_for_another() -> None:
    """Numbers, negations, units, order, languages: 0 false hits on all pairs, in both directions."""
    lookalikes = pairs("lookalikes.jsonl")
    assert len(lookalikes) >= 200
    assert [pair for pair in lookalikes if hits(*pair) or hits(*reversed(pair))] == []


def test_most_trivial_rewrites_are_hits() -> None:
    """At least 60 %."""
    rewrites = pairs("rewrites.jsonl")
    assert len(rewrites) >= 200
    assert sum(hits(*pair) for pair in rewrites) / len(rewrites) >= 0.6


@pytest.mark.parametrize(
    ("other", "revision"),
    [(prompt("Name a colour.", tenant="b"), "r1"), (prompt("Name a colour.", tenant="a"), "r2")],
)
def test_tenants_and_revisions_never_share(other: Prompt, revision: str) -> None:
    """Not even an identical prompt."""
    cache = AnalysisCache()
    cache.keep(keys(cache, prompt("Name a colour.", tenant="a")), analysis())
    found = keys(cache, other, revision)
    assert cache.exact(found) is None
    assert cache.similar(found) is None


def test_keys_cover_all_messages() -> None:
    """The same question after another conversation, or under another role, is another prompt."""

    def asked(*messages: Message) -> Prompt:
        return Prompt(messages, "t", Deadline.after(1))

    question = Message("user", "And the second one?")
    cache = AnalysisCache()
    cache.keep(keys(cache, asked(Message("user", "List two rivers."), question)), analysis())
    for other in (
        asked(question),
        asked(Message("user", "List two poets."), question),
        asked(Message("assistant", "List two rivers."), question),
    ):
        assert cache.exact(keys(cache, other)) is None
        assert cache.similar(keys(cache, other)) is None


def test_the_least_recently_used_goes_first() -> None:
    """Reading counts as use."""
    cache = BoundedCache[int](30, 10)
    for index in range(3):
        cache.put(bytes([index]), index)
    assert cache.get(b"\x00") == 0
    cache.put(b"\x03", 3)
    assert [cache.get(bytes([index])) for index in range(4)] == [0, None, 2, 3]
    assert cache.byte_count == 30


def test_an_entry_takes_no_more_than_it_is_counted_with() -> None:
    """The bound is a bound in real memory."""
    cache = AnalysisCache(CacheSettings(exact_bytes=2**30, similar_bytes=2**30))
    tracemalloc.start()
    count = 2000
    before, _ = tracemalloc.get_traced_memory()
    for index in range(count):
        asked = prompt(f"Please explain topic number {index} and how it differs from topic {index * 7} in detail")
        cache.keep(keys(cache, asked), analysis(index))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / count < _ENTRY_BYTES + _SIMILAR_ENTRY_BYTES


def test_memory_stops_growing_however_many_prompts_come() -> None:
    """6,000 distinct prompts through a cache of a quarter of a megabyte a half."""
    cache = AnalysisCache(CacheSettings(exact_bytes=2**18, similar_bytes=2**18))

    def fill(start: int) -> int:
        for index in range(start, start + 3_000):
            cache.keep(keys(cache, prompt(f"Question {index} about item {index * 3}")), analysis(index))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    first, second = fill(0), fill(3_000)
    tracemalloc.stop()
    assert abs(second - first) < 100_000
