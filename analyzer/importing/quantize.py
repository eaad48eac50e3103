"""Per-row int8 weights, as CTranslate2 stores them, and output rows of twice that precision."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.importing.checkpoint import Float32Array

Int8Array: TypeAlias = npt.NDArray[np.int8]

_NEGLIGIBLE = 1e-6


def quantize_rows(weight: Float32Array) -> tuple[Int8Array, Float32Array]:
    """Returns int8 rows and their scales (weight ≈ rows / scale), bit for bit what CTranslate2's converter makes."""
    largest = np.abs(weight).max(axis=1)
    largest[largest == 0] = 127.0
    largest = np.maximum(largest, np.float32(127) / np.finfo(np.float32).max)
    scale = (127.0 / largest).astype(np.float32)
    return np.rint(weight * scale[:, None]).astype(np.int8), scale


def dequantize_rows(rows: Int8Array, scale: Float32Array) -> Float32Array:
    """Returns the float32 weight that int8 `rows` with one `scale` each stand for."""
    return rows.astype(np.float32) / scale[:, None]


def quantize_in_parts(weight: Float32Array) -> tuple[Int8Array, Float32Array, Literal[1, 2]]:
    """Returns int8 rows, scales and the number of parts (1 or 2) whose sum is `weight` to about 16 bits.

    CTranslate2 runs every layer of an int8 model in int8: a float32 output layer is quantised when it is loaded. A
    learned row keeps its precision all the same when what int8 leaves over is a second row, and the two scores are
    added. Rows that int8 holds exactly (an identity matrix, rows taken from an int8 model) need one part only.
    """
    coarse, coarse_scale = quantize_rows(weight)
    rest = weight - dequantize_rows(coarse, coarse_scale)
    if np.abs(rest).max() <= _NEGLIGIBLE * np.abs(weight).max():
        return coarse, coarse_scale, 1
    fine, fine_scale = quantize_rows(rest)
    return np.concatenate([coarse, fine]), np.concatenate([coarse_scale, fine_scale]), 2
