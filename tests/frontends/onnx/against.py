"""Runs small ONNX models through importer and interpreter, and through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from planck.dtypes import Array
from planck.frontends.onnx import read
from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.verify import verify

onnxruntime.set_default_logger_severity(4)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    opset: int,
    constants: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """A model of nodes; constants become initialisers."""
    given = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    made = [onnx.ValueInfoProto(name=name) for name in outputs]
    held = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "small", given, made, held)
    # 8 is what the oldest opset here may be written in; ONNX Runtime reads up to 10
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 8 else 8)


def ours(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[Graph, list[Array]]:
    """The verified graph, and what it gives."""
    graph = read(proto)
    verify(graph)
    names = {graph.names[value.name]: value.name for value in graph.inputs}
    results = interpret(graph, {names[n]: a for n, a in inputs.items()})
    return graph, [results[value.name] for value in graph.outputs]


def check(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    opset: int = 21,
    constants: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    rtol: float = 1e-5,
) -> Graph:
    """The graph, once it gives what ONNX Runtime gives.

    rtol:  ONNX Runtime's float32 functions are good to a few ulps
    """
    proto = model(nodes, inputs, outputs, opset, constants)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    graph, found = ours(proto, inputs)
    for mine, wanted in zip(found, session.run(list(outputs), dict(inputs)), strict=True):
        assert (mine.dtype, mine.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(mine, wanted, rtol=rtol, atol=1e-6)
    return graph


def one(
    op: str,
    *inputs: Array,
    opset: int = 21,
    constants: Mapping[int, Any] | None = None,
    **attributes: Any,
) -> Graph:
    """One node of one output; constants: inputs by position that the model holds."""
    held = dict(constants or {})
    count = len(inputs) + len(held)
    given = iter(inputs)
    named = {f"x{k}": next(given) for k in range(count) if k not in held}
    fixed = {f"x{k}": a for k, a in held.items() if a is not None}
    names = ["" if k in held and held[k] is None else f"x{k}" for k in range(count)]
    node = helper.make_node(op, names, ["y"], **attributes)
    return check([node], named, opset, fixed)
