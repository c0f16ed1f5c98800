"""Cheaper forms of the same arithmetic: powers, divisions by powers of two, global pools."""

from __future__ import annotations

from typing import Final

import numpy as np

from planck.ir.graph import Graph, Node
from planck.ir.rewrite import SKIP, Patch, View, rewrite, rule
from planck.ops.nn import Conv, Pool, Softmax
from planck.ops.pointwise import Pointwise
from planck.ops.reduce import Reduce
from planck.passes.match import constant, inner, is_pointwise
from planck.refusal import No

COMMUTATIVE: Final = ("add", "mul", "min", "max", "and", "or", "xor", "equal")


@rule(Pointwise)
def power(view: View, node: Node) -> Patch | No:
    """x ** 2 -> x * x; x ** 0.5 -> sqrt(x); x ** -1 -> reciprocal(x)"""
    if not is_pointwise(node, "pow"):
        return SKIP
    x, out = node.inputs[0], node.outputs[0]
    exponent = constant(view, node.inputs[1])
    if exponent not in (2, 0.5, -1):
        return SKIP
    if x.type != out.type:
        return No("the exponent changes shape or dtype")
    patch = view.patch()
    if exponent == 2:
        return patch.replace(out, patch(Pointwise("mul"), x, x))
    if not x.type.dtype.is_float:
        return No("a root of integers")
    return patch.replace(out, patch(Pointwise("sqrt" if exponent == 0.5 else "reciprocal"), x))


@rule(Pointwise)
def division(view: View, node: Node) -> Patch | No:
    """x / c -> x * (1 / c) where c holds powers of two alone, so that no bit changes"""
    if not is_pointwise(node, "div") or not node.outputs[0].type.dtype.is_float:
        return SKIP
    array = view.weight(node.inputs[1])
    if array is None or not array.size:
        return SKIP
    wide = array.astype(np.float64)
    with np.errstate(all="ignore"):
        inverse = (1 / wide).astype(array.dtype)
    mantissa, exponent = np.frexp(wide)
    if not np.all(np.abs(mantissa) == 0.5) or np.any(np.abs(exponent) > 14):
        return No("1 / c is not exact")
    patch = view.patch()
    times = patch.weight(inverse, node.inputs[1].name)
    return patch.replace(node.outputs[0], patch(Pointwise("mul"), node.inputs[0], times))


@rule(Pool)
def global_pool(view: View, node: Node) -> Patch | No:
    """average or max pool with one window over everything -> reduce mean or max"""
    assert isinstance(node.op, Pool)
    op, x, out = node.op, node.inputs[0], node.outputs[0]
    if op.kind not in ("average", "max") or op.kernel != x.type.dims[2:] or any(op.pads):
        return SKIP
    if any(n != 1 for n in (*op.dilations, *out.type.dims[2:])):
        return SKIP
    axes = tuple(range(2, x.type.rank))
    kind = "mean" if op.kind == "average" else "max"
    patch = view.patch()
    return patch.replace(out, patch(Reduce(kind, axes, True), x))


@rule(Reduce)
def reduces(view: View, node: Node) -> Patch | No:
    """mean(mean(x)) -> mean(x) over the axes of both; the same for sum, max, min, prod"""
    assert isinstance(node.op, Reduce)
    kind, x = node.op.kind, node.inputs[0]
    before = inner(view, x, Reduce)
    if before is None or kind not in ("mean", "sum", "max", "min", "prod"):
        return SKIP
    assert isinstance(before.op, Reduce)
    if before.op.kind != kind or before.op.keep != node.op.keep:
        return SKIP
    source = before.inputs[0]
    first = {axis % source.type.rank for axis in before.op.axes}
    left = [axis for axis in range(source.type.rank) if before.op.keep or axis not in first]
    second = {left[axis % x.type.rank] for axis in node.op.axes}
    patch = view.patch()
    axes = tuple(sorted(first | second))
    return patch.replace(node.outputs[0], patch(Reduce(kind, axes, node.op.keep), source))


@rule(Conv)
def expectation(view: View, node: Node) -> Patch | No:
    """conv(softmax(x, channels), w[1, C, 1, 1]) -> reduce_sum(softmax(x) * w, channels)

    A box's side as YOLO decodes it: the mean of a distribution. Most of a convolution's lanes would
    idle over one output channel.
    """
    assert isinstance(node.op, Conv)
    x, out = node.inputs[0], node.outputs[0]
    softmax = inner(view, x, Softmax)
    weights = view.weight(node.inputs[1])
    if softmax is None or weights is None or len(node.inputs) > 2:
        return SKIP
    m, _, *taps = weights.shape
    if m != 1 or node.op.groups != 1 or any(n != 1 for n in (*taps, *node.op.strides)):
        return SKIP
    if any(node.op.pads):
        return No("it pads")
    patch = view.patch()
    factors = patch.weight(weights.reshape(weights.shape[1:]), node.inputs[1].name)
    scaled = patch(Pointwise("mul"), x, factors)
    return patch.replace(out, patch(Reduce("sum", (1,), True), scaled))


@rule(Pointwise)
def constant_last(view: View, node: Node) -> Patch | No:
    """f(constant, x) -> f(x, constant) where the order does not matter"""
    if not is_pointwise(node, *COMMUTATIVE):
        return SKIP
    a, b = node.inputs
    if view.weight(a) is None or view.weight(b) is not None:
        return SKIP
    patch = view.patch()
    return patch.replace(node.outputs[0], patch(node.op, b, a))


RULES = (expectation, constant_last, power, division, global_pool, reduces)


def arithmetic(graph: Graph) -> Graph:
    """Replace arithmetic by cheaper arithmetic."""
    return rewrite(graph, RULES)
