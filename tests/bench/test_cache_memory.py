"""Does the cache ladder stop growing? A million distinct prompts through it, with no model behind."""

import gc
import os
import time

import psutil
import pytest
from rich.table import Table

from analyzer.bench.prompts import made_prompt
from analyzer.caching import AnalysisCache
from analyzer.conversation import Message, Prompt
from analyzer.framing import Frame
from servicekit.deadline import Deadline
from tests.bench.conftest import Publish
from tests.support.fake_model import FakeJudge

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

PROMPTS = int(os.environ.get("BENCH_PROMPTS", "1000000"))
STEPS = 10


def test_memory_over_a_million_distinct_prompts(publish: Publish) -> None:
    """Resident memory after each tenth, and the slope over the second half."""
    cache, process, analysis = (
        AnalysisCache(),
        psutil.Process(),
        FakeJudge().judge([500.0], Frame((1, 2, 3), 3, truncated=False)),
    )
    table = Table("prompts", "resident MB", "prompts/s", title="the caches of one replica, defaults, scorer faked")
    points = []
    for step in range(STEPS):
        started = time.perf_counter()
        for index in range(step * PROMPTS // STEPS, (step + 1) * PROMPTS // STEPS):
            prompt = Prompt((Message("user", made_prompt(index, 12)),), "tenant", Deadline.after(10))
            keys = cache.with_similar_key(cache.exact_keys(prompt, "revision"), prompt, "revision")
            if cache.exact(keys) is None and cache.similar(keys) is None:
                cache.keep(keys, analysis)
        rate = PROMPTS / STEPS / (time.perf_counter() - started)
        gc.collect()
        points.append(((step + 1) * PROMPTS // STEPS, process.memory_info().rss))
        table.add_row(f"{points[-1][0]:,}", f"{points[-1][1] / 2**20:.0f}", f"{rate:,.0f}")
    half = points[STEPS // 2 :]
    slope = (half[-1][1] - half[0][1]) / (half[-1][0] - half[0][0])
    table.caption = f"second half: {slope:+.2f} bytes a prompt; {cache!r}"
    publish("cache-memory", table, {"points": points, "slope_bytes_a_prompt": slope})
