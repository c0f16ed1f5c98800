"""Elementwise ONNX nodes: arithmetic, comparison, logic, bits, activations, casts."""

from __future__ import annotations

from functools import reduce
from typing import Final

import numpy as np

from planck.dtypes import f8e8m0, f64
from planck.errors import ModelFormatError
from planck.frontends.onnx.context import NodeContext, Table, Translation
from planck.frontends.onnx.emit import cast, reshape
from planck.frontends.onnx.tensors import dtype_of
from planck.ir.graph import Value
from planck.ops.movement import Broadcast
from planck.ops.pointwise import FUNCTIONS, BitCast, Cast, Pointwise

# Functions that ONNX and `ops.functions` name alike but for case; those it spells otherwise.
ALIKE: Final = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh",
    "Div", "Equal", "Erf", "Exp", "Floor", "Greater", "Less", "Log", "Mish", "Mul", "Neg", "Not",
    "Or", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Sub", "Tan", "Tanh", "Xor", "IsNaN",
)  # fmt: skip
RENAMED: Final = {
    "BitwiseAnd": "bit_and",
    "BitwiseNot": "bit_not",
    "BitwiseOr": "bit_or",
    "BitwiseXor": "bit_xor",
    "GreaterOrEqual": "greater_equal",
    "HardSwish": "hard_swish",
    "LessOrEqual": "less_equal",
    "Where": "select",
}
# Activations with attributes: function, then attribute names and defaults in the operands' order.
ACTIVATIONS: Final[dict[str, tuple[str, tuple[tuple[str, float], ...]]]] = {
    "LeakyRelu": ("leaky_relu", (("alpha", 0.01),)),
    "Elu": ("elu", (("alpha", 1.0),)),
    "Selu": ("selu", (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875))),
    "Celu": ("celu", (("alpha", 1.0),)),
    "HardSigmoid": ("hard_sigmoid", (("alpha", 0.2), ("beta", 0.5))),
    "ThresholdedRelu": ("thresholded_relu", (("alpha", 1.0),)),
    "Shrink": ("shrink", (("lambd", 0.5), ("bias", 0.0))),
    "Swish": ("swish", (("alpha", 1.0),)),
}
VARIADIC: Final = {"Sum": "add", "Max": "max", "Min": "min"}


def _function(fn: str) -> Translation:
    arity = FUNCTIONS[fn].arity
    return lambda c: c.emit(Pointwise(fn), *(c.input(i) for i in range(arity)))


def _activation(fn: str, parameters: tuple[tuple[str, float], ...]) -> Translation:
    def translate(c: NodeContext) -> Value:
        x = c.input(0)
        numbers = (c.like(c.number(name, default), x) for name, default in parameters)
        return c.emit(Pointwise(fn), x, *numbers)

    return translate


def _variadic(fn: str) -> Translation:
    return lambda c: reduce(lambda a, b: c.emit(Pointwise(fn), a, b), c.inputs)


def mean(c: NodeContext) -> Value:
    total = reduce(lambda a, b: c.emit(Pointwise("add"), a, b), c.inputs)
    return c.emit(Pointwise("div"), total, c.like(len(c.inputs), total))


def power(c: NodeContext) -> Value:
    """The base's dtype; an integer base to a real power passes through f64."""
    base, exponent = c.input(0), c.input(1)
    if base.type.dtype.is_integer and exponent.type.dtype.is_float:
        wide = (cast(c, base, f64), cast(c, exponent, f64))
        return cast(c, c.emit(Pointwise("pow"), *wide), base.type.dtype)
    return c.emit(Pointwise("pow"), base, cast(c, exponent, base.type.dtype))


def modulo(c: NodeContext) -> Value:
    return c.emit(Pointwise("fmod" if c.integer("fmod", 0) else "mod"), c.input(0), c.input(1))


def bit_shift(c: NodeContext) -> Value:
    direction = c.text("direction")
    if direction not in ("LEFT", "RIGHT"):
        raise ModelFormatError(f"BitShift's direction is {direction!r}, must be LEFT or RIGHT")
    return c.emit(Pointwise(f"shift_{direction.lower()}"), c.input(0), c.input(1))


def is_inf(c: NodeContext) -> Value:
    x = c.input(0)
    negative, positive = c.integer("detect_negative", 1), c.integer("detect_positive", 1)
    if negative and positive:
        return c.emit(Pointwise("isinf"), x)
    if not negative and not positive:
        return c.emit(Broadcast(x.type.dims), c.const(np.array(False)))
    return c.emit(Pointwise("equal"), x, c.like(np.inf if positive else -np.inf, x))


def clip(c: NodeContext) -> Value:
    """Bounds are attributes before opset 11, then optional inputs."""
    x = c.input(0)
    bounds = (c.optional(1), c.optional(2))
    if c.version < 11:
        given = (c.attribute("min"), c.attribute("max"))
        bounds = tuple(None if n is None else c.like(n, x) for n in given)  # type: ignore[assignment]
    for fn, bound in zip(("max", "min"), bounds, strict=True):
        if bound is not None:
            x = c.emit(Pointwise(fn), x, bound)
    return x


def prelu(c: NodeContext) -> Value:
    """Before opset 7 a list of slopes was the channels' (`survey.modern` says so by `axis`)."""
    x, slope = c.input(0), c.input(1)
    if c.has("axis") and slope.type.size > 1:
        slope = reshape(c, slope, (slope.type.size, *[1] * (x.type.rank - 2)))
    return c.emit(Pointwise("prelu"), x, slope)


def gelu(c: NodeContext) -> Value:
    kind = c.text("approximate", "none")
    if kind not in ("none", "tanh"):
        raise ModelFormatError(f"Gelu's approximate is {kind!r}, must be none or tanh")
    return c.emit(Pointwise("gelu" if kind == "none" else "gelu_tanh"), c.input(0))


def swiglu(c: NodeContext) -> Value:
    gate, x = c.input(0), c.input(1)
    opened = c.emit(Pointwise("swish"), gate, c.like(c.number("alpha", 1.0), gate))
    return c.emit(Pointwise("mul"), opened, x)


def to_dtype(c: NodeContext) -> Value:
    code = c.integer("to") if c.type == "Cast" else None
    dtype = c.input(1).type.dtype if code is None else dtype_of(code)
    if dtype is f8e8m0 and c.text("round_mode", "up") != "up":
        c.refuse(f"round_mode {c.text('round_mode')!r}; it rounds up")
    return c.emit(Cast(dtype, bool(c.integer("saturate", 1))), c.input(0))


def bit_cast(c: NodeContext) -> Value:
    return c.emit(BitCast(dtype_of(c.integer("to"))), c.input(0))


TABLE: Final[Table] = {
    **{("", name): _function(name.lower()) for name in ALIKE},
    **{("", name): _function(fn) for name, fn in RENAMED.items()},
    **{("", name): _activation(fn, given) for name, (fn, given) in ACTIVATIONS.items()},
    **{("", name): _variadic(fn) for name, fn in VARIADIC.items()},
    ("", "BitCast"): bit_cast,
    ("", "BitShift"): bit_shift,
    ("", "Cast"): to_dtype,
    ("", "CastLike"): to_dtype,
    ("", "Clip"): clip,
    ("", "Gelu"): gelu,
    ("", "IsInf"): is_inf,
    ("", "Mean"): mean,
    ("", "Mod"): modulo,
    ("", "Pow"): power,
    ("", "PRelu"): prelu,
    ("", "SwiGLU"): swiglu,
}
