"""The default model, as pulled, against the numpy reference on the weights of its GGUF file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from analyzer.adapters import runtime
from analyzer.adapters.tokenizer import HuggingFaceTokenizer
from analyzer.files import sha256_of
from analyzer.importing.gguf_file import GgufCheckpoint
from analyzer.importing.pull import DEFAULT, cache_folder, pull
from tests.support import numpy_llama

runtime.prepare()

import ctranslate2  # noqa: E402 - only after the runtime is prepared

from analyzer.importing.convert import convert  # noqa: E402
from analyzer.importing.output_layer import identity_rows, with_output  # noqa: E402

pytestmark = pytest.mark.model

QUESTION = "What is the capital of France?"


def refuse_to_download(*_arguments: object) -> Path:
    """Stands in for pip: tests fetch nothing."""
    pytest.skip("the default model is not in the cache; run 'analyzer model pull default'")


@pytest.fixture(scope="module")
def checkpoint() -> GgufCheckpoint:
    """The pulled GGUF file."""
    return GgufCheckpoint(pull(DEFAULT, cache_folder(os.environ), download=refuse_to_download), base=DEFAULT.base)


@pytest.fixture(scope="module")
def converted(checkpoint: GgufCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 30 layers in int8."""
    folder = tmp_path_factory.mktemp("default")
    convert(checkpoint, folder)
    return folder


@pytest.fixture(scope="module")
def prompt(checkpoint: GgufCheckpoint) -> list[int]:
    """The question in the model's own chat template."""
    tokenizer = HuggingFaceTokenizer(checkpoint.tokenizer.content, checkpoint.tokenizer.special_tokens)
    encode = tokenizer.encode
    return [1, *encode(f"user\n{QUESTION}"), 2, *encode("\n"), 1, *encode("assistant\n")]


def test_greedy_decoding_answers_and_agrees_with_the_reference(
    checkpoint: GgufCheckpoint, converted: Path, prompt: list[int]
) -> None:
    """Eight int8 tokens chosen greedily make sense; the reference ranks each of them first."""
    generator = ctranslate2.Generator(str(converted), intra_threads=1)
    ids = list(prompt)
    for _ in range(8):
        ids.append(int(np.array(generator.forward_batch([ids]))[0, -1].argmax()))
        if ids[-1] == checkpoint.tokenizer.eos_token_id:
            break
    tokenizer = HuggingFaceTokenizer(checkpoint.tokenizer.content, checkpoint.tokenizer.special_tokens)
    assert "Paris" in tokenizer.decode(ids[len(prompt) :])
    reference = numpy_llama.logits(checkpoint, ids[:-1])[len(prompt) - 1 :].argmax(-1)
    assert reference.tolist() == ids[len(prompt) :]


@pytest.mark.parametrize("layers", [15, 30])
def test_hidden_states_point_the_same_way_as_the_reference(
    layers: int, checkpoint: GgufCheckpoint, converted: Path, prompt: list[int], tmp_path: Path
) -> None:
    """Cosine of the last position and of the mean at least 0.99, of any position 0.97, after 15 and 30 layers."""
    with_output(converted, tmp_path, identity_rows(576), layers=layers)
    got = np.array(ctranslate2.Generator(str(tmp_path), intra_threads=1).forward_batch([prompt]))[0]
    want = numpy_llama.hidden_states(checkpoint, prompt, layers=layers)
    assert cosine(got[-1], want[-1]) >= 0.99
    assert cosine(got.mean(axis=0), want.mean(axis=0)) >= 0.99  # what the head judge reads
    assert min(cosine(left, right) for left, right in zip(got, want, strict=True)) >= 0.97


def test_the_pulled_file_is_the_pinned_one(checkpoint: GgufCheckpoint) -> None:
    """The checksum in the manifest is the file's."""
    assert checkpoint.base.sha256 == DEFAULT.member_sha256
    assert sha256_of(pull(DEFAULT, cache_folder(os.environ), download=refuse_to_download)) == DEFAULT.member_sha256


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Returns the cosine of two vectors."""
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
