"""OpenVINO on the CPU: int8 weights with float32 arithmetic, and int8 throughout."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from analyzer.bench.forward import Batch, Forward, Pass
from analyzer.bench.peers.onnx_model import build
from analyzer.importing.gguf_file import GgufCheckpoint

_CALIBRATION_BATCHES = 16
_CALIBRATION_TOKENS = 64


def int8_weights(gguf: Path, layers: int, threads: int) -> Forward:
    """Weights are kept in int8 and widened when they are used."""
    return _forward(build(GgufCheckpoint(gguf), layers, int8_weights=True), threads)


def int8(gguf: Path, layers: int, threads: int) -> Forward:
    """Weights and activations in int8, scales of the activations from a calibration run over random tokens."""
    checkpoint = GgufCheckpoint(gguf)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(build(checkpoint, layers), str(source))
        quantize_static(
            source,
            target,
            _Calibration(checkpoint.shape.vocabulary),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return _forward(onnx.load(str(target)), threads)


class _Calibration(CalibrationDataReader):  # type: ignore[misc] # an untyped base
    def __init__(self, vocabulary: int) -> None:
        dice = np.random.default_rng(0)
        size = (_CALIBRATION_BATCHES, 1, _CALIBRATION_TOKENS)
        self._batches = iter(dice.integers(10, vocabulary, size=size))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"ids": batch}


def _forward(model: Any, threads: int) -> Forward:
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(core.read_model(path), "CPU", hints)

    def forward(batch: Batch) -> Pass:
        scores = next(iter(compiled({"ids": np.array(batch, dtype=np.int64)}).values()))
        return Pass(scores.mean(axis=1).tolist())

    return forward
