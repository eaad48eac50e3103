"""Features are kept on disk and batched by length."""

from pathlib import Path

import numpy as np

from analyzer.training.dataset import TextMessage
from analyzer.training.engine import batches_by_length
from analyzer.training.features import FeatureCache, prompt_key


def test_what_was_computed_once_is_there_after_a_restart(tmp_path: Path) -> None:
    """A training that was stopped goes on."""
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    FeatureCache(tmp_path / "cache").add(["a", "b"], vectors)
    again = FeatureCache(tmp_path / "cache")
    assert "a" in again
    assert "c" not in again
    np.testing.assert_array_equal(again["b"], vectors[1])


def test_a_half_written_file_is_no_feature(tmp_path: Path) -> None:
    """Files get their name only when they are whole."""
    (tmp_path / ".halfway").write_bytes(b"PK")
    assert "2" not in repr(FeatureCache(tmp_path)).split(":")[-1]


def test_conversations_differ_by_role_and_by_where_messages_end() -> None:
    """The key covers all there is."""
    keys = {
        prompt_key([TextMessage("user", "ab"), TextMessage("user", "c")]),
        prompt_key([TextMessage("user", "a"), TextMessage("user", "bc")]),
        prompt_key([TextMessage("system", "ab"), TextMessage("user", "c")]),
    }
    assert len(keys) == 3


def test_batches_hold_like_lengths_within_the_limits() -> None:
    """Every prompt once, none empty, at most 16 prompts and 512 tokens counted with padding."""
    lengths = [0, 128, 3, 100, *[10] * 40, 128, 127, 128, 128]
    batches = list(batches_by_length(lengths))
    assert sorted(index for batch in batches for index in batch) == [i for i, length in enumerate(lengths) if length]
    assert all(len(batch) <= 16 and len(batch) * max(lengths[i] for i in batch) <= 512 for batch in batches)
