"""PyTorch's exports, by both of its exporters, compiled and compared with ONNX Runtime."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import planck
from bench import models
from planck.runtime import Engine

FOLDER = Path(__file__).parent / "data" / "exported"
NAMES = sorted(file.stem for file in FOLDER.glob("*.onnx"))
DIMS = {"batch": 3, "length": 13}

# float32 sums of up to a few hundred products in another order
TOLERANCE = 1e-4


@cache
def case(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Engine]:
    """Random inputs, ONNX Runtime's outputs, and the engine."""
    file = FOLDER / f"{name}.onnx"
    model = onnx.load(file)
    inputs = models.inputs(model, 0, DIMS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    want = dict(zip(names, session.run(names, inputs), strict=True))
    shapes = {key: array.shape for key, array in inputs.items()}
    return inputs, want, planck.build(file, shapes=shapes, threads=2, optimization_level=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_onnx_runtime(name: str) -> None:
    inputs, want, engine = case(name)
    got = engine(inputs)
    assert list(got) == list(want)
    for key, array in want.items():
        assert got[key].shape == array.shape
        assert got[key].dtype == array.dtype
        scale = float(np.abs(array).max()) or 1.0
        assert float(np.abs(got[key].astype(np.float64) - array).max()) <= TOLERANCE * scale, key


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_compiled(name: str) -> None:
    report = case(name)[2].inspect()
    assert report.reference_steps == 0, [step for step in report.steps if step.reference]
