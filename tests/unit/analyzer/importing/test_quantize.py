"""int8 rows keep what int8 can keep, two parts keep the rest."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.importing.quantize import dequantize_rows, quantize_in_parts, quantize_rows


def test_rows_are_scaled_by_their_own_largest_value() -> None:
    """Each row uses the whole int8 range; a row of zeros stays zero."""
    rows, scale = quantize_rows(np.array([[1.0, -0.5], [0.0, 0.0], [1e-40, 0.0]], dtype=np.float32))
    assert rows.tolist()[:2] == [[127, -64], [0, 0]]
    assert np.isfinite(scale).all()


@pytest.mark.parametrize("seed", range(5))
def test_two_parts_hold_float_rows_to_about_16_bits(seed: int) -> None:
    """The sum of both parts is within 1/60000 of the row's largest value."""
    weight = np.random.default_rng(seed).normal(size=(4, 96)).astype(np.float32)
    rows, scale, parts = quantize_in_parts(weight)
    assert parts == 2
    coarse, fine = np.split(dequantize_rows(rows, scale), 2)
    assert (np.abs(coarse + fine - weight).max(axis=1) <= np.abs(weight).max(axis=1) / 60000).all()


def test_rows_int8_holds_exactly_need_one_part() -> None:
    """The identity, and rows that came out of int8."""
    rows, scale = quantize_rows(np.random.default_rng(0).normal(size=(4, 96)).astype(np.float32))
    for exact in (np.eye(8, dtype=np.float32), dequantize_rows(rows, scale)):
        again, again_scale, parts = quantize_in_parts(exact)
        assert parts == 1
        np.testing.assert_allclose(dequantize_rows(again, again_scale), exact, rtol=1e-6)
