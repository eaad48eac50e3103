"""Seconds that one core takes for passes over one prompt and several, on this machine."""

import statistics
import time
from pathlib import Path

from analyzer.adapters.modelstore import ModelStore
from analyzer.assembling import engine_of
from analyzer.loading import ModelLoader

LENGTH = 64
LARGEST = 8
ROUNDS = 12


def service_times(store: Path) -> list[float]:
    """Returns the seconds of a pass over 1 to 8 prompts of 64 tokens, with one thread.

    CPU time, not the clock's: other programs on the machine then make it little longer.
    """
    model = ModelLoader(ModelStore(store), threads=1).load().model
    engine = engine_of(model)
    times = []
    for size in range(1, LARGEST + 1):
        batch = [[1 + (index + shift) % 97 for index in range(LENGTH)] for shift in range(size)]
        samples = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            engine.score_now(batch)
            samples.append(time.process_time() - begun)
        times.append(statistics.median(samples))
    return times
