"""Every pointwise function as LLVM IR, on scalars and on vectors of any width.

Booleans in registers are i1 lanes: comparisons give them, and/or/xor/not/select take them with kind
"i1" or "<16 x i1>". Float16 and bfloat16 have no arithmetic here: widen them to float first.
Integer division by zero gives 0 and never traps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from planck.codegen import integers, maths, rare
from planck.codegen.lanes import Lanes, element, splat
from planck.codegen.llvm import Builder
from planck.errors import BuildError
from planck.target import Target

__all__ = ["emit", "splat"]

_COMPARE: Final = {
    "equal": "eq", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge",
}  # fmt: skip


def emit(
    b: Builder, fn: str, args: Sequence[str], kind: str, target: Target, unsigned: bool = False
) -> str:
    """Write a pointwise function; gives the name of its result.

    fn:        a name of the pointwise table (`planck.ops`), parameters as trailing operands
    args:      value names or literals of type `kind`; for select, the first is i1 lanes
    kind:      "float", "double", "i8" .. "i64", "i1", or a vector of these: "<16 x float>"
    unsigned:  whether integer operands are unsigned
    gives:     a value of type `kind`; i1 lanes for comparisons, isnan, isinf
    raises:    BuildError for a function that the type does not have
    """
    v = Lanes(b, kind, target, unsigned)
    if fn == "select":
        return v.select(*args)
    if element(kind) == "i1":
        return integers.emit_bool(v, fn, args)
    if fn in _COMPARE:
        return v.compare(_COMPARE[fn], *args)
    if not v.is_float:
        return integers.emit_integer(v, fn, args)
    if fn in _RARE:
        write = _SHORT.get(fn, _RARE[fn]) if v.bits == 32 else _RARE[fn]
        return _through_double(v, write, args)
    if fn not in _FLOAT:
        raise BuildError(f"there is no function {fn!r} on {kind}")
    return _FLOAT[fn](v, *args)


def _through_double(v: Lanes, write: Callable[..., str], args: Sequence[str]) -> str:
    if v.bits == 64:
        return write(v, *args)
    wide = [v.convert("fpext", arg, "double") for arg in args]
    d = v.to("double")
    return d.convert("fptrunc", write(d, *wide), "float")


def _is_literal(value: str) -> bool:
    return not value.startswith("%")


def _least(v: Lanes, x: str, y: str) -> str:
    """NumPy's minimum: NaN where either is."""
    if _is_literal(x):
        return v.least(x, y)
    if _is_literal(y):
        return v.least(y, x)
    return v.select(v.is_nan(x), x, v.least(x, y))


def _most(v: Lanes, x: str, y: str) -> str:
    if _is_literal(x):
        return v.most(x, y)
    if _is_literal(y):
        return v.most(y, x)
    return v.select(v.is_nan(x), x, v.most(x, y))


def _sign(v: Lanes, x: str) -> str:
    other = v.compare("lt", v.c(0.0), v.abs(x))
    return v.select(other, v.sign_of(v.c(1.0), x), x)


def _pow(v: Lanes, x: str, y: str) -> str:
    for exponent, write in _POWERS.items():
        if y == v.c(exponent):
            return write(v, x)
    return _through_double(v, rare.power_short if v.bits == 32 else rare.power, (x, y))


def _cube(v: Lanes, x: str) -> str:
    return v.mul(v.mul(x, x), x)


def _mod(v: Lanes, x: str, y: str) -> str:
    """Python's %: the sign of the divisor."""
    rest = rare.remainder(v, x, y)
    apart = v.compare("ne", v.sign_of(rest, y), rest)
    apart = v.both(apart, v.compare("ne", rest, v.c(0.0)))
    return v.select(
        apart, v.add(rest, y), v.select(v.compare("eq", rest, v.c(0.0)), v.sign_of(rest, y), rest)
    )


def _floordiv(v: Lanes, x: str, y: str) -> str:
    return v.floor(v.div(x, y))


def _bent(v: Lanes, x: str, negative: str) -> str:
    """x above zero (and NaN), `negative` below."""
    return v.select(v.compare("lt", x, v.c(0.0)), negative, x)


def _leaky_relu(v: Lanes, x: str, alpha: str) -> str:
    return _bent(v, x, v.mul(x, alpha))


def _elu(v: Lanes, x: str, alpha: str) -> str:
    return _bent(v, x, v.mul(alpha, maths.expm1(v, x)))


def _selu(v: Lanes, x: str, alpha: str, gamma: str) -> str:
    return v.mul(gamma, _elu(v, x, alpha))


def _celu(v: Lanes, x: str, alpha: str) -> str:
    negative = v.mul(alpha, maths.expm1(v, v.least(v.c(0.0), v.div(x, alpha))))
    return v.add(v.most(v.c(0.0), x), v.least(v.c(0.0), negative))


def _softsign(v: Lanes, x: str) -> str:
    return v.div(x, v.add(v.abs(x), v.c(1.0)))


def _hard_sigmoid(v: Lanes, x: str, alpha: str, beta: str) -> str:
    return v.most(v.c(0.0), v.least(v.c(1.0), v.fma(x, alpha, beta)))


def _hard_swish(v: Lanes, x: str) -> str:
    return v.mul(x, _hard_sigmoid(v, x, v.c(1.0 / 6.0), v.c(0.5)))


def _swish(v: Lanes, x: str, beta: str) -> str:
    return maths.swish(v, x, v.mul(x, beta))


def _thresholded_relu(v: Lanes, x: str, alpha: str) -> str:
    return v.select(v.compare("le", x, alpha), v.c(0.0), x)


def _shrink(v: Lanes, x: str, border: str, bias: str) -> str:
    inner = v.select(v.compare("gt", x, border), v.sub(x, bias), v.c(0.0))
    return v.select(v.compare("lt", x, v.neg(border)), v.add(x, bias), inner)


def _sqrt(v: Lanes, x: str) -> str:
    return v.call("sqrt", x)


_POWERS: Final[dict[float, Callable[..., str]]] = {
    2.0: lambda v, x: v.mul(x, x),
    3.0: _cube,
    1.0: lambda v, x: x,
}

_RARE: Final[dict[str, Callable[..., str]]] = {
    "sin": rare.sin,
    "cos": rare.cos,
    "tan": rare.tan,
    "asin": rare.asin,
    "acos": rare.acos,
    "atan": rare.atan,
    "sinh": rare.sinh,
    "cosh": rare.cosh,
    "asinh": rare.asinh,
    "acosh": rare.acosh,
    "atanh": rare.atanh,
    "fmod": rare.remainder,
    "mod": _mod,
}

# What floats use instead.
_SHORT: Final[dict[str, Callable[..., str]]] = {"sin": rare.sin_short, "cos": rare.cos_short}

_FLOAT: Final[dict[str, Callable[..., str]]] = {
    "add": Lanes.add,
    "sub": Lanes.sub,
    "mul": Lanes.mul,
    "div": Lanes.div,
    "floordiv": _floordiv,
    "pow": _pow,
    "min": _least,
    "max": _most,
    "neg": Lanes.neg,
    "abs": Lanes.abs,
    "sqrt": _sqrt,
    "rsqrt": lambda v, x: v.div(v.c(1.0), _sqrt(v, x)),
    "reciprocal": lambda v, x: v.div(v.c(1.0), x),
    "exp": maths.exp,
    "log": maths.log,
    "tanh": maths.tanh,
    "erf": maths.erf,
    "floor": Lanes.floor,
    "ceil": Lanes.ceil,
    "round": Lanes.round,
    "sign": _sign,
    "isnan": Lanes.is_nan,
    "isinf": lambda v, x: v.compare("eq", v.abs(x), v.c(math.inf)),
    "sigmoid": maths.sigmoid,
    "relu": lambda v, x: v.most(v.c(0.0), x),
    "leaky_relu": _leaky_relu,
    "prelu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "softplus": maths.softplus,
    "softsign": _softsign,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "mish": maths.mish,
    "silu": maths.silu,
    "gelu": maths.gelu,
    "gelu_tanh": maths.gelu_tanh,
    "swish": _swish,
    "thresholded_relu": _thresholded_relu,
    "shrink": _shrink,
}
