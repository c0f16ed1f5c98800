"""Operators with bodies as kernels of their own, on every ISA, against their NumPy references."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planck.dtypes import Array
from planck.ir.graph import Value
from planck.ir.interpret import interpret
from planck.ops import movement, nn
from planck.ops.pointwise import Pointwise
from planck.target import Target
from tests.loops.running import TARGETS, Maker, reblock, run


def draw(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def one(op: object, *arrays: Array) -> Callable[[], tuple[Maker, Value]]:
    def make() -> tuple[Maker, Value]:
        m = Maker(**{f"x{k}": a for k, a in enumerate(arrays)})
        return m, m(op, *m.inputs.values())  # type: ignore[arg-type]

    return make


X = draw(2, 6, 7, 9)
CASES: dict[str, Callable[[], tuple[Maker, Value]]] = {
    "softmax": one(nn.Softmax(-1), draw(5, 37)),
    "softmax wide": one(nn.Softmax(-1), draw(3, 200)),
    "softmax middle": one(nn.Softmax(1), X),
    "log_softmax": one(nn.LogSoftmax(1), draw(5, 37)),
    "hardmax": one(nn.Hardmax(1), draw(5, 37)),
    "batch": one(nn.BatchNorm(1e-5), X, draw(6), draw(6), draw(6), np.abs(draw(6))),
    "layer": one(nn.LayerNorm(-1, 1e-5), draw(4, 5, 37), draw(37), draw(37)),
    "layer of two axes": one(nn.LayerNorm(1, 1e-5), draw(4, 5, 7), draw(5, 7), draw(5, 7)),
    "rms": one(nn.RMSNorm(-1, 1e-5), draw(4, 5, 37), draw(37)),
    "instance": one(nn.InstanceNorm(1e-5), X, draw(6), draw(6)),
    "group": one(nn.GroupNorm(3, 1e-5), X, draw(6), draw(6)),
    "lrn": one(nn.LRN(5, 1e-4, 0.75, 1.0), X),
    "conv": one(nn.Conv((2, 1), (1, 1, 1, 1), (1, 1), 1), X, draw(5, 6, 3, 3), draw(5)),
    "grouped conv": one(nn.Conv((1, 1), (1, 0, 1, 2), (1, 2), 2), X, draw(4, 3, 3, 2)),
    "deconv": one(nn.ConvTranspose((2, 2), (1, 1, 1, 1), (1, 1), 1, (1, 0)), X, draw(6, 3, 3, 3)),
    "matmul": one(nn.MatMul(), draw(3, 5, 17), draw(3, 17, 21)),
    "matmul transposed": one(nn.MatMul(transpose_b=True), draw(5, 17), draw(21, 17)),
    "max pool": one(nn.Pool("max", (3, 2), (2, 1), (1, 0, 1, 1), (1, 1)), X),
    "average pool": one(nn.Pool("average", (3, 3), (2, 2), (1, 1, 1, 1), (1, 1)), X),
    "attention": one(nn.Attention(0.3), draw(2, 7, 8), draw(2, 9, 8), draw(2, 9, 5)),
    "causal attention": one(nn.Attention(0.3, True), draw(2, 7, 8), draw(2, 7, 8), draw(2, 7, 5)),
    "nearest": one(nn.Resize("nearest", (2, 6, 14, 18), (1.0, 1.0, 2.0, 2.0)), X),
    "linear": one(nn.Resize("linear", (2, 6, 14, 18), (1.0, 1.0, 2.0, 2.0)), X),
    "cubic": one(nn.Resize("cubic", (2, 6, 5, 13), (1.0, 1.0, 5 / 7, 13 / 9)), X),
    "reflect": one(movement.Pad((0, 0, 2, 3, 0, 0, 1, 2), "reflect"), X, np.float32(0)),
    "edge": one(movement.Pad((0, 0, 2, 3, 0, 0, 1, 2), "edge"), X, np.float32(0)),
    "crop": one(movement.Pad((0, 0, -2, 3, 0, 0, 1, -2), "constant"), X, np.float32(2)),
    "reverse": one(movement.Slice((1, 5, 6, 8), (1, 3, 3, 9), (1, -2, -3, -1)), X),
    "stride": one(movement.Slice((0, 0, 0, 1), (2, 6, 7, 4), (1, 1, 1, 2)), X),
    "gather": one(movement.Gather(1), X, np.array([[3, -1], [0, 5]])),
    "gather last": one(movement.Gather(-1), X, np.array([3, -1, 0])),
    "gather elements": one(movement.GatherElements(1), X, np.full((2, 3, 7, 9), -2)),
    "one hot": one(movement.OneHot(1, 5), np.array([[1, 4, -1]]), np.float32([0, 3])),
    "trilu": one(movement.Trilu(True, 1), draw(5, 7)),
    "space to depth": one(movement.Transpose((0, 3, 5, 1, 2, 4)), X.reshape(2, 6, 7, 1, 3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_single_operators(name: str, target: Target) -> None:
    m, output = CASES[name]()
    graph = m.graph(output)
    want = interpret(graph, m.arrays)[output.name]
    (got,) = run(graph, m.arrays, target, threads=2)
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=3e-6)


@pytest.mark.parametrize(
    "name", ["batch", "instance", "conv", "max pool", "linear", "crop", "group"]
)
def test_single_operators_on_blocks(name: str) -> None:
    target = TARGETS[-1]
    m, output = CASES[name]()
    graph = m.graph(output)
    want = interpret(graph, m.arrays)[output.name]
    for blocks in ({"x0": target.lanes}, {output.name: target.lanes}):
        (got,) = run(reblock(graph, blocks), m.arrays, target)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=3e-6)


def test_several_outputs_share_one_pass() -> None:
    m = Maker(x=draw(7, 33), y=draw(7, 33), z=draw(33, 7))
    total = m(Pointwise("add"), m["x"], m["y"])
    gate = m(Pointwise("sigmoid"), total)
    other = m(movement.Transpose((1, 0)), m["z"])
    outputs = (m(Pointwise("mul"), gate, other), total, m(Pointwise("neg"), m["z"]))
    graph = m.graph(*outputs)
    want = interpret(graph, m.arrays)
    for threads in (1, 3):
        got = run(graph, m.arrays, TARGETS[-1], threads=threads)
        for value, array in zip(outputs, got, strict=True):
            np.testing.assert_allclose(array, want[value.name], rtol=1e-6, atol=1e-6)
