"""Runs one of ONNX's own backend tests through the importer and the interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from planck.dtypes import Array
from planck.errors import PlanckError
from planck.frontends.onnx import read
from planck.ir.graph import Graph
from planck.ir.interpret import interpret

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # making the expected values overflows on purpose
    CASES = {case.name: case for case in load_model_tests(kind="node")}


def run(name: str) -> None:
    """Import a case's model and compare its outputs. raises: PlanckError, AssertionError"""
    case = CASES[name]
    model = case.model
    for inputs, outputs in case.data_sets:
        given = dict(
            zip((info.name for info in model.graph.input), map(_plain, inputs), strict=True)
        )
        graph, values = imported(model, given)
        made = interpret(graph, values)
        found = _cut({graph.names.get(name, name): array for name, array in made.items()})
        assert len(found) == len(outputs), f"{len(found)} outputs, expected {len(outputs)}"
        for array, want in zip(found, outputs, strict=True):
            _compare(array, _plain(want), case.rtol, case.atol)


def _cut(made: Mapping[str, Array]) -> list[Array]:
    """The outputs without the rows that only fill, and without how many others there are."""
    return [
        array[: int(made[f"{name}[count]"])] if f"{name}[count]" in made else array
        for name, array in made.items()
        if not name.endswith("[count]")
    ]


def imported(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> tuple[Graph, dict[str, Array]]:
    """The graph, with as few inputs as possible taken for constants, and what the others get."""
    no_tensors = {n: a for n, a in inputs.items() if not isinstance(a, np.ndarray)}
    small = {n: a for n, a in inputs.items() if not _is_data(a)}
    tiny = {n: a for n, a in inputs.items() if not isinstance(a, np.ndarray) or a.ndim < 2}
    for constants in (no_tensors, small, tiny):
        try:
            return _read(model, inputs, constants)
        except PlanckError:
            continue
    return _read(model, inputs, inputs)


def _read(
    model: onnx.ModelProto, inputs: Mapping[str, Any], constants: Mapping[str, Any]
) -> tuple[Graph, dict[str, Array]]:
    shapes = {n: a.shape for n, a in inputs.items() if n not in constants}
    graph = read(model, shapes=shapes, constants=constants)
    values = {graph.names.get(v.name, v.name): v.name for v in graph.inputs}
    return graph, {values[n]: a for n, a in inputs.items() if n in values}


def _is_data(item: Any) -> bool:
    return isinstance(item, np.ndarray) and (item.dtype.kind not in "iubO" or item.ndim > 1)


def _plain(item: Any) -> Any:
    """Texts as Python strings, everything else as arrays."""
    if isinstance(item, list):
        return [_plain(part) for part in item]
    if item is None:
        return None
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    array = np.asarray(item)
    if array.dtype.kind in "SUO":
        texts = [t.decode() if isinstance(t, bytes) else str(t) for t in array.flat]
        return np.array(texts, object).reshape(array.shape)
    return array


def _compare(found: Array, want: Array, rtol: float, atol: float) -> None:
    assert found.shape == want.shape, f"shape {found.shape}, expected {want.shape}"
    assert found.dtype == want.dtype, f"dtype {found.dtype}, expected {want.dtype}"
    if want.dtype.kind in "iubO":
        np.testing.assert_array_equal(found, want)
        return
    if want.dtype.itemsize < 4:  # ml_dtypes among them
        found, want = found.astype(np.float32), want.astype(np.float32)
    finite = np.abs(want[np.isfinite(want)])
    rounding = 1e-7 * float(finite.max()) if finite.size else 0.0  # of f32, at the largest element
    np.testing.assert_allclose(found, want, rtol=rtol, atol=max(atol, rounding))
