"""The stored exports of PyTorch: valid, small, and the same function by either exporter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bench import models

FOLDER = Path(__file__).parent.parent / "data" / "exported"
NAMES = sorted(file.stem.removesuffix("-script") for file in FOLDER.glob("*-script.onnx"))
DIMS = {"batch": 3, "length": 13}


def run(file: Path) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, models.inputs(onnx.load(file), 0, DIMS))
    return outputs


@pytest.mark.parametrize("name", NAMES)
def test_both_exports_are_valid_and_compute_the_same(name: str) -> None:
    script, dynamo = (FOLDER / f"{name}-{exporter}.onnx" for exporter in ("script", "dynamo"))
    for file in (script, dynamo):
        onnx.checker.check_model(onnx.load(file), full_check=True)
    for a, b in zip(run(script), run(dynamo), strict=True):
        assert np.isfinite(a).all()
        assert a.std() > 0.01
        # float32, sums of up to 200 terms in another order
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_the_files_stay_small() -> None:
    sizes = [file.stat().st_size for file in FOLDER.iterdir()]
    assert len(NAMES) == 7
    assert max(sizes) < 100_000
    assert sum(sizes) < 600_000
