"""Nodes behind NonMaxSuppression against ONNX Runtime, and those that are refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from planck import onnx_backend
from planck.dtypes import Array
from planck.errors import NotConstant
from planck.frontends.onnx import read
from tests.frontends.onnx.chosen import BODIES, HELD, REFUSED, given, model


def check(made: onnx.ModelProto, inputs: dict[str, Array], target: str = "cpu") -> list[int]:
    """ONNX Runtime's outputs by compiled steps; the elements of each."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of constants that nothing reads
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    expected = session.run(None, inputs)
    rep = onnx_backend.prepare(made, target=target)
    found = rep.run(inputs)
    assert len(found) == len(expected)
    for own, array in zip(found, expected, strict=True):
        assert (own.shape, own.dtype) == (array.shape, array.dtype)
        np.testing.assert_allclose(own, array, rtol=1e-6)  # a softmax rounds in its own order
    assert not rep.engine.inspect().reference_steps
    return [array.size for array in expected]


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("name", BODIES)
def test_rows_are_onnxs(name: str, held: tuple[str, str, str]) -> None:
    outputs, body = BODIES[name]
    sizes = check(model(outputs, body, held), given(body))
    assert name == "two" or any(sizes) == (held is not HELD[-1])


@pytest.mark.parametrize("held", [("1", "0.5", "-1"), ("1", "0.5", "1"), ("0", "0.5", "-1")])
def test_one_row_or_none_to_spare(held: tuple[str, str, str]) -> None:
    outputs, body = BODIES["torchvision"]
    sizes = check(model(outputs, body, held, classes=1), given(body, classes=1))
    assert any(sizes) == (held[::2] == ("1", "-1"))


def test_names_say_what_is_counted_and_where() -> None:
    graph = read(model(*BODIES["a picture's"]))
    names = [graph.names[value.name] for value in graph.outputs]
    assert names == ["batch", "batch[count 1]", "turned", "turned[count 1]"]


@pytest.mark.parametrize("body", REFUSED)
def test_what_needs_to_know_the_rows_is_refused(body: str) -> None:
    with pytest.raises(NotConstant, match="only a run tells how many") as error:
        read(model("int64[n, 3] y", body))
    assert REFUSED[body] in error.value.know
    assert "chosen" in str(error.value)
