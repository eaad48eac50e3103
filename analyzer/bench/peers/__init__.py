"""Other engines on the same weights and depth, to be measured beside ours. Needs the `bench-peers` dependency group."""

from collections.abc import Callable
from pathlib import Path

from analyzer.bench.forward import Forward
from analyzer.bench.peers import llamacpp, onnxruntime_engine, openvino_engine

# Each takes a GGUF file, how many layers of it to keep, and threads.
PEERS: dict[str, Callable[[Path, int, int], Forward]] = {
    "openvino-int8-weights": openvino_engine.int8_weights,
    "openvino-int8": openvino_engine.int8,
    "onnxruntime-float32": onnxruntime_engine.float32,
    "onnxruntime-int8": onnxruntime_engine.dynamic_int8,
    "llamacpp-q8_0": llamacpp.q8_0,
}
