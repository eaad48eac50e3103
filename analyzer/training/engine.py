"""One forward pass for training: token ids in, the mean of the output columns over all positions out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.adapters import runtime
from analyzer.adapters.tokenizer import Tokenizer, open_tokenizer
from analyzer.framing import Frame, FramedMessage, FrameParameters, frame_prompt
from analyzer.manifest import Manifest, OutputLayer

Matrix = NDArray[np.float32]

_BATCH_TOKENS = 512  # beyond, batches get slower again
_BATCH_PROMPTS = 16


class PooledEngine:
    """A converted model on the CPU, as it serves: int8, with the process prepared before ctranslate2 is imported."""

    def __init__(self, folder: Path, manifest: Manifest, output: OutputLayer, *, threads: int = 2) -> None:
        self.instruction_set = runtime.prepare().instruction_set
        import ctranslate2  # noqa: PLC0415 - loads its libraries, so only after the runtime is prepared

        self._output = output
        self._tokenizer: Tokenizer = open_tokenizer(folder, manifest.tokenizer, manifest.frame.special_tokens)
        self._generator: Any = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=manifest.quantization, inter_threads=1, intra_threads=threads
        )

    def frame(self, messages: Sequence[FramedMessage], parameters: FrameParameters) -> Frame:
        """Cuts a conversation to the frame with this model's tokenizer."""
        return frame_prompt(messages, self._tokenizer.encode, parameters)

    def pooled(self, prompts: Sequence[Sequence[int]]) -> Matrix:
        """Returns [prompts, rows]: the mean over positions of each row's score. A prompt of no tokens gives zeros."""
        result = np.zeros((len(prompts), self._output.rows), dtype=np.float32)
        for batch in batches_by_length([len(prompt) for prompt in prompts]):
            for index, mean in zip(batch, self._forward([prompts[index] for index in batch]), strict=True):
                result[index] = self._output.merge(mean.tolist())
        return result

    def _forward(self, prompts: Sequence[Sequence[int]]) -> Iterator[Matrix]:
        vocabulary = self._tokenizer.vocabulary
        tokens = [[vocabulary[token] for token in prompt] for prompt in prompts]
        columns = np.asarray(self._generator.forward_batch(tokens), dtype=np.float32)
        for prompt, scores in zip(prompts, columns, strict=True):
            yield scores[: len(prompt)].mean(axis=0)


def batches_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yields indices of prompts of like length, at most 16 prompts and 512 tokens a batch; skips empty prompts."""
    batch: list[int] = []
    for index in sorted((i for i, length in enumerate(lengths) if length), key=lengths.__getitem__):
        full = len(batch) >= _BATCH_PROMPTS or (len(batch) + 1) * lengths[index] > _BATCH_TOKENS
        if batch and full:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
