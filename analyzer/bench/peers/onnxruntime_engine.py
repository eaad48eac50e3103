"""ONNX Runtime on the CPU: float32, and int8 with scales found at run time."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

from analyzer.bench.forward import Batch, Forward, Pass
from analyzer.bench.peers.onnx_model import build
from analyzer.importing.gguf_file import GgufCheckpoint


def float32(gguf: Path, layers: int, threads: int) -> Forward:
    """The reference the others' cosine is taken to."""
    return _forward(build(GgufCheckpoint(gguf), layers).SerializeToString(), threads)


def dynamic_int8(gguf: Path, layers: int, threads: int) -> Forward:
    """ONNX Runtime's own dynamic quantisation: int8 weights a column, activations as they come."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(build(GgufCheckpoint(gguf), layers), str(source))
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
        return _forward(str(target), threads)


def _forward(model: str | bytes, threads: int) -> Forward:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def forward(batch: Batch) -> Pass:
        scores: Any = session.run(["scores"], {"ids": np.array(batch, dtype=np.int64)})[0]
        return Pass(scores.mean(axis=1).tolist())

    return forward
