"""What rounding alone does to a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench import models
from bench.rounding import _cut, errors
from planck.tactics.triton.operands import tf32


def test_tf32_keeps_ten_bits_of_fraction() -> None:
    step = 2.0**-10
    x = np.array([1, 1 + step, 1 + step / 2, -1 - step / 2, 1 + step / 4, 0, np.inf], np.float32)
    want = np.array([1, 1 + step, 1 + step, -1 - step, 1, 0, np.inf], np.float32)
    np.testing.assert_array_equal(tf32(x), want)
    below = np.array([1, 1 + step, 1, -1, 1, 0, np.inf], np.float32)
    np.testing.assert_array_equal(_cut(x), below)


def test_fewer_bits_err_more(tmp_path: Path) -> None:
    found = errors(models.path("mlp", small=True, folder=tmp_path))
    assert found["fp32"] < 1e-5 < found["tf32"] < found["bf16"] < 0.1
    assert found["fp16"] < found["bf16"]
