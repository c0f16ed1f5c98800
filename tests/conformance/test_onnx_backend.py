"""ONNX's own backend tests through the compiled engine, but for those in unsupported.txt."""

from __future__ import annotations

import unittest
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.backend.test import BackendTest

from planck import onnx_backend
from planck.errors import BuildError
from planck.knobs import turned
from planck.target import host
from tests.conformance.backend import cases, listed, outcome, unsupported
from tests.loops.running import TARGETS

BATCHES = 32
NARROWER = [target.isa for target in TARGETS if target.isa != host().isa]


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_backend(batch: int, record_property: Callable[[str, object], None]) -> None:
    """Every case of a batch passes, unless it is listed; what is listed must fail."""
    found = [outcome(name) for name in sorted(cases())[batch::BATCHES]]
    passed = [one for one in found if not one.why]
    compiled = [one for one in passed if not one.reference]
    known = sum(one.known for one in compiled)
    record_property("onnx_backend", (len(found), len(passed), len(compiled), known))
    failed = [f"{one.name}: {one.why}" for one in found if one.why and not listed(one.name)]
    assert not failed, "\n".join([f"{len(failed)} of {len(found)} failed", *failed])
    done = [one.name for one in passed if listed(one.name)]
    assert not done, f"these pass now; remove them from unsupported.txt: {', '.join(done)}"


@pytest.mark.slow
@pytest.mark.parametrize("isa", NARROWER)
def test_narrower_machines(isa: str) -> None:
    """A sample for older processors: the same results."""
    sample = [name for name in sorted(cases())[::31] if not listed(name)]
    failed = [one for name in sample if (one := outcome(name, f"cpu:{isa}")).why]
    assert not failed


def test_every_pattern_is_of_use() -> None:
    for pattern in unsupported():
        assert any(fnmatchcase(name, pattern) for name in cases()), pattern


class Counted(unittest.TestResult):
    """Counts what passed: Python versions differ in whether `testsRun` counts what was skipped."""

    successes = 0

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802, unittest's name
        self.successes += 1


def test_onnx_runs_it_itself() -> None:
    """`onnx.backend.test.BackendTest` takes the module as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite = (
            BackendTest(onnx_backend, __name__).include("test_(add|relu|reshape)_.*cpu").test_suite
        )
        with turned(jobs=1):
            result = Counted()
            suite.run(result)
    assert result.wasSuccessful(), result.failures + result.errors
    assert result.successes >= 10


def test_an_engine_waits_only_where_values_decide() -> None:
    add = onnx_backend.prepare(cases()["node/test_add"].model)
    assert [binding.name for binding in add.engine.inputs] == ["x", "y"]
    reshape = onnx_backend.prepare(cases()["node/test_reshape_extended_dims"].model)
    with pytest.raises(BuildError, match="first run"):
        _ = reshape.engine
    for shape in ((2, 3, 2, 2), (4, 6)):
        (found,) = reshape.run([np.zeros((2, 3, 4), np.float32), np.array(shape)])
        assert found.shape == shape
        assert [binding.name for binding in reshape.engine.inputs] == ["data"]


def test_open_shapes_are_those_of_the_inputs() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "open", [x], [y])
    rep = onnx_backend.prepare(helper.make_model(graph))
    for shape in ((2, 3), (5, 1), (2, 3)):
        array = np.random.default_rng(0).standard_normal(shape, np.float32)
        np.testing.assert_array_equal(rep.run([array])[0], np.maximum(array, 0))
