"""Recognise activation functions that files write out as arithmetic.

The rules see through where a file puts its constants: x/2*(1+erf(x/sqrt(2))),
x*(0.5+0.5*erf(0.7071*x)) and every order of the factors are the same product and sum.
"""

from __future__ import annotations

import math
from typing import Final

from planck.ir.graph import Graph, Node, Value
from planck.ir.rewrite import SKIP, Patch, View, close, rewrite, rule
from planck.ops.pointwise import Pointwise
from planck.passes.match import (
    Product,
    affine,
    clip,
    constant,
    inner_pointwise,
    is_pointwise,
    like,
    product,
    total,
)
from planck.refusal import No

SQRT_HALF: Final = math.sqrt(0.5)
SQRT_2_PI: Final = math.sqrt(2 / math.pi)
GELU_CUBE: Final = 0.044715


@rule(Pointwise)
def sigmoid(view: View, node: Node) -> Patch | No:
    """1 / (1 + exp(-x)) -> sigmoid(x)"""
    out = node.outputs[0]
    if not is_pointwise(node, "div", "reciprocal") or not out.type.dtype.is_float:
        return SKIP
    found = product(view, out, root=True)
    if found.factor != 1 or found.over or len(found.under) != 1:
        return SKIP
    x = _one_plus_exp(view, found.under[0], -1.0)
    return _unary(view, out, "sigmoid", x)


@rule(Pointwise)
def softplus(view: View, node: Node) -> Patch | No:
    """log(1 + exp(x)) -> softplus(x)"""
    if not is_pointwise(node, "log"):
        return SKIP
    return _unary(view, node.outputs[0], "softplus", _one_plus_exp(view, node.inputs[0], 1.0))


def _one_plus_exp(view: View, value: Value, sign: float) -> Value | None:
    """x where the value is 1 + exp(sign * x)."""
    found = total(view, value)
    if found.constant != 1 or len(found.terms) != 1:
        return None
    term = found.terms[0]
    exp = term.only and inner_pointwise(view, term.only, "exp")
    if not exp or term.factor != 1:
        return None
    inside = product(view, exp.inputs[0])
    return inside.only if inside.factor == sign else None


def _unary(view: View, out: Value, fn: str, x: Value | None, *parameters: float) -> Patch | No:
    if x is None or x.type != out.type:
        return SKIP
    patch = view.patch()
    scalars = [patch.weight(like(x, number), fn) for number in parameters]
    return patch.replace(out, patch(Pointwise(fn), x, *scalars))


@rule(Pointwise)
def relu(view: View, node: Node) -> Patch | No:
    """max(x, 0) -> relu(x)"""
    if not is_pointwise(node, "max") or not node.outputs[0].type.dtype.is_float:
        return SKIP
    for x, limit in (node.inputs, node.inputs[::-1]):
        if constant(view, limit) == 0:
            return _unary(view, node.outputs[0], "relu", x)
    return SKIP


@rule(Pointwise)
def hard_sigmoid(view: View, node: Node) -> Patch | No:
    """clip(x + 3, 0, 6) / 6, clip(x / 6 + 0.5, 0, 1) -> hard_sigmoid(x)"""
    out = node.outputs[0]
    if not is_pointwise(node, "mul", "div", "min", "max") or not out.type.dtype.is_float:
        return SKIP
    found = product(view, out, root=True)
    if found.only is None:
        return SKIP
    same = found.only == out  # the clip itself, not a scaled one
    line = _clipped_line(view, Product(found.factor, (found.only,)), root=same)
    if line is None or line[2] == 0:
        return SKIP
    return _unary(view, out, "hard_sigmoid", line[1], line[0], line[2])


def _clipped_line(
    view: View, found: Product, *, root: bool = False
) -> tuple[float, Value, float] | None:
    """(a, x, b) where the product is clip(a * x + b, 0, 1)."""
    clipped = found.only and clip(view, found.only, root=root)
    if not clipped:
        return None
    inside, low, high = clipped
    line = affine(view, inside)
    if line is None or low != 0 or not close(high * found.factor, 1.0):
        return None
    return line[0] * found.factor, line[1], line[2] * found.factor


@rule(Pointwise)
def gated(view: View, node: Node) -> Patch | No:
    """x * g(x) -> silu, swish, hard_swish, mish, gelu or gelu_tanh of x"""
    out = node.outputs[0]
    if not is_pointwise(node, "mul", "div") or not out.type.dtype.is_float:
        return SKIP
    found = product(view, out, root=True)
    if len(found.over) == 1 and len(found.under) == 1:  # x / (1 + exp(-x))
        same = _one_plus_exp(view, found.under[0], -1.0) == found.over[0] and found.factor == 1
        return _unary(view, out, "silu", found.over[0]) if same else SKIP
    if len(found.over) != 2 or found.under:
        return SKIP
    for x, gate in (found.over, found.over[::-1]):
        if x.type != out.type:
            continue
        for recognise in (_sigmoid_gate, _hard_gate, _mish_gate, _gelu_gate):
            answer = recognise(view, x, gate, found.factor)
            if answer is not None:
                return _unary(view, out, answer[0], x, *answer[1:])
    return SKIP


_Answer = tuple[str] | tuple[str, float] | None


def _sigmoid_gate(view: View, x: Value, gate: Value, factor: float) -> _Answer:
    """sigmoid(beta * x)"""
    node = inner_pointwise(view, gate, "sigmoid")
    if node is None or factor != 1:
        return None
    inside = product(view, node.inputs[0])
    if node.inputs[0] == x:
        return ("silu",)
    return ("swish", inside.factor) if inside.only == x else None


def _hard_gate(view: View, x: Value, gate: Value, factor: float) -> _Answer:
    """clip(x / 6 + 0.5, 0, 1), or a hard_sigmoid of these numbers"""
    node = inner_pointwise(view, gate, "hard_sigmoid")
    if node is not None and factor == 1:
        slope, shift = constant(view, node.inputs[1]), constant(view, node.inputs[2])
        fits = node.inputs[0] == x and close(slope, 1 / 6) and close(shift, 0.5)
        return ("hard_swish",) if fits else None
    line = _clipped_line(view, Product(factor, (gate,)))
    if line is None or line[1] != x or not (close(line[0], 1 / 6) and close(line[2], 0.5)):
        return None
    return ("hard_swish",)


def _mish_gate(view: View, x: Value, gate: Value, factor: float) -> _Answer:
    """tanh(softplus(x))"""
    tanh = inner_pointwise(view, gate, "tanh")
    plus = tanh and inner_pointwise(view, tanh.inputs[0], "softplus")
    return ("mish",) if plus and plus.inputs[0] == x and factor == 1 else None


def _gelu_gate(view: View, x: Value, gate: Value, factor: float) -> _Answer:
    """(1 + erf(x / sqrt(2))) / 2, or (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))) / 2"""
    found = total(view, gate)
    if len(found.terms) != 1 or not close(found.constant * factor, 0.5):
        return None
    term = found.terms[0]
    if term.only is None or not close(term.factor * factor, 0.5):
        return None
    erf = inner_pointwise(view, term.only, "erf")
    if erf is not None:
        inside = product(view, erf.inputs[0])
        return ("gelu",) if inside.only == x and close(inside.factor, SQRT_HALF) else None
    tanh = inner_pointwise(view, term.only, "tanh")
    if tanh is not None and _is_cubic(view, tanh.inputs[0], x):
        return ("gelu_tanh",)
    return None


def _is_cubic(view: View, value: Value, x: Value) -> bool:
    """Whether the value is sqrt(2 / pi) * (x + 0.044715 * x ** 3), factored in any way."""
    outside = product(view, value)
    factor, power = outside.factor, 0
    sums = []
    for part in outside.over:
        if part == x:
            power += 1
        else:
            sums.append(part)
    if outside.under or len(sums) > 1:
        return False
    inside = total(view, sums[0]) if sums else total(view, value)
    if not sums:
        factor, power = 1.0, 0
    coefficients = {power: factor * inside.constant}
    for term in inside.terms:
        degree = _degree(view, term, x)
        if degree is None:
            return False
        at = degree + power
        coefficients[at] = coefficients.get(at, 0.0) + factor * term.factor
    linear, cubic = coefficients.pop(1, 0.0), coefficients.pop(3, 0.0)
    return (
        not any(coefficients.values())
        and close(linear, SQRT_2_PI)
        and close(cubic, SQRT_2_PI * GELU_CUBE)
    )


def _degree(view: View, term: Product, x: Value) -> int | None:
    """n where the term is factor * x ** n."""
    if term.under:
        return None
    degree = 0
    for part in term.over:
        power = inner_pointwise(view, part, "pow")
        if part == x:
            degree += 1
        elif power is not None and power.inputs[0] == x:
            exponent = constant(view, power.inputs[1])
            if exponent not in (2, 3):
                return None
            degree += int(exponent)
        else:
            return None
    return degree


RULES = (sigmoid, softplus, gated, hard_sigmoid, relu)


def activations(graph: Graph) -> Graph:
    """One pointwise function where a file has several."""
    return rewrite(graph, RULES)
