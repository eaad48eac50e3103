"""A real OpenAI-compatible server with a real, very small model: it stands in for every tier and for the cloud model.

    python -m deploy.local.model_server --port 50070

It serves SmolLM2-135M-Instruct from the file that `analyzer model pull default` has fetched. Which model name a request
asks for makes no difference.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

import xllamacpp

from analyzer.importing.pull import DEFAULT, PullFailedError, cache_folder, pull

LOOPBACK = "127.0.0.1"
SLOTS = 2
TOKENS_IN_A_SLOT = 4096


def serve(weights: Path, port: int, threads: int) -> xllamacpp.Server:
    """Returns a running server; it lives as long as the object does."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.hostnames = [LOOPBACK]
    parameters.port = port
    parameters.n_parallel = SLOTS
    parameters.n_ctx = SLOTS * TOKENS_IN_A_SLOT
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.warmup = False
    return xllamacpp.Server(parameters)


def main() -> None:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=50070)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        weights = pull(DEFAULT, cache_folder(os.environ))
    except PullFailedError as failure:
        sys.exit(f"model server: {failure}")
    server = serve(weights, given.port, given.threads)
    stop.wait()
    del server


if __name__ == "__main__":
    main()
