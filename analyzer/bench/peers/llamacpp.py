"""llama.cpp with Q8_0 weights, by its own account of the time a prompt took."""

import json
import socket
import tempfile
import urllib.request
import weakref
from pathlib import Path

import gguf as gguf_format
import numpy as np
import xllamacpp

from analyzer.bench.forward import Batch, Forward, Pass
from analyzer.importing.gguf_file import GgufCheckpoint

_CONTEXT = 4096


def q8_0(gguf: Path, layers: int, threads: int) -> Forward:
    """A server in this process over the first `layers` layers; prompts of a batch go one after another."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "q8_0.gguf"
    write_q8_0(gguf, path, layers)
    server, url = _serve(path, threads)

    def forward(batch: Batch) -> Pass:
        return Pass([], milliseconds=sum(_prompt_ms(url, ids) for ids in batch))

    weakref.finalize(forward, folder.cleanup)
    weakref.finalize(forward, lambda _: None, server)
    return forward


def write_q8_0(source: Path, target: Path, layers: int) -> None:
    """Copies a GGUF file with fewer layers and every matrix in Q8_0; the head stays the vocabulary's."""
    GgufCheckpoint(source)  # says clearly what is wrong with a damaged file
    reader = gguf_format.GGUFReader(source)
    writer = gguf_format.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            value = layers if name == "llama.block_count" else field.contents()
            sub = field.types[-1] if field.types[0] == gguf_format.GGUFValueType.ARRAY else None
            writer.add_key_value(name, value, field.types[0], sub)
    for tensor in reader.tensors:
        if tensor.name.startswith("blk.") and int(tensor.name.split(".")[1]) >= layers:
            continue
        values = gguf_format.quants.dequantize(tensor.data, tensor.tensor_type)
        _add(writer, tensor.name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: gguf_format.GGUFWriter, name: str, values: "np.typing.NDArray[np.float32]") -> None:
    if values.ndim == 1:
        writer.add_tensor(name, values)
        return
    kind = gguf_format.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf_format.quants.quantize(values, kind), raw_dtype=kind)


def _serve(path: Path, threads: int) -> tuple[object, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.hostnames, settings.port = str(path), ["127.0.0.1"], port
    settings.n_ctx, settings.n_parallel, settings.warmup = _CONTEXT, 1, True
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(settings), f"http://127.0.0.1:{port}/completion"


def _prompt_ms(url: str, ids: list[int]) -> float:
    body = json.dumps({"prompt": ids, "n_predict": 1, "cache_prompt": False}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return float(json.load(answer)["timings"]["prompt_ms"])
