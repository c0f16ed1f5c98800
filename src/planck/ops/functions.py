"""The scalar functions of Pointwise, by name, with their NumPy definitions.

A definition computes in the dtype it is given; `Function.apply` chooses that dtype: small floats
compute in float32, transcendental functions of float32 in float64, and the result is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from planck.dtypes import Array, DType, f32, from_numpy

NumPy = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Function:
    """One elementwise function.

    arity:   how many operands
    numpy:   its definition
    result:  "same" as the operands' dtype, or "bool"
    kinds:   the kinds of dtypes it takes (DType.kind)
    wide:    float32 operands compute in float64
    """

    arity: int
    numpy: NumPy
    result: str = "same"
    kinds: str = "f"
    wide: bool = False

    def apply(self, *arrays: Array) -> Array:
        """The function in the operands' common dtype, rounded to it; operands broadcast.

        arrays:  of one dtype (the last one's, where the first is a condition)
        """
        dtype = from_numpy(arrays[-1].dtype)
        work = self._work(dtype)
        with np.errstate(all="ignore"):
            result = self.numpy(*(a if a.dtype == np.bool_ else a.astype(work) for a in arrays))
            wanted = np.dtype(np.bool_) if self.result == "bool" else dtype.numpy
            return np.asarray(result).astype(wanted)

    def _work(self, dtype: DType) -> Any:
        if dtype.kind == "f":
            if dtype.bits < 32:
                dtype = f32
            return np.float64 if self.wide and dtype is f32 else dtype.numpy
        if dtype.bits < 8:  # int4 lacks most of NumPy's functions
            return np.int8 if dtype.kind == "i" else np.uint8
        return dtype.numpy


def _is_integer(a: Array) -> bool:
    return bool(a.dtype.kind in "iu")


def _div(a: Array, b: Array) -> Any:
    """True division of floats; integers truncate toward zero."""
    if not _is_integer(a):
        return a / b
    quotient = a // b
    return quotient + ((a - quotient * b != 0) & ((a < 0) != (b < 0)))


def _pow(a: Array, b: Array) -> Any:
    """Powers; of integers to negative exponents too, truncated toward zero."""
    if not _is_integer(a):
        return np.power(a, b)
    whole = np.power(a, np.maximum(b, 0))
    inverse = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2, -1, 1), 0))
    return np.where(b < 0, inverse, whole).astype(a.dtype)


_erf_each = np.frompyfunc(math.erf, 1, 1)


def _erf(x: Array) -> Any:
    return np.asarray(_erf_each(x)).astype(x.dtype)


def _sigmoid(x: Array) -> Any:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _softplus(x: Array) -> Any:
    return np.logaddexp(x, 0)


def _hard_sigmoid(x: Array, alpha: Array, beta: Array) -> Any:
    return np.clip(alpha * x + beta, 0, 1)


def _gelu(x: Array) -> Any:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _gelu_tanh(x: Array) -> Any:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def _elu(x: Array, alpha: Array) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, alpha: Array) -> Any:
    return np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x / alpha, 0)), 0)


def _selu(x: Array, alpha: Array, gamma: Array) -> Any:
    return gamma * _elu(x, alpha)


def _leaky_relu(x: Array, slope: Array) -> Any:
    return np.where(x < 0, slope * x, x)


def _shrink(x: Array, threshold: Array, bias: Array) -> Any:
    zero = x.dtype.type(0)
    return np.where(x < -threshold, x + bias, np.where(x > threshold, x - bias, zero))


def _swish(x: Array, beta: Array) -> Any:
    return x * _sigmoid(beta * x)


def _plain(arity: int, numpy: NumPy, kinds: str) -> Function:
    return Function(arity, numpy, "same", kinds)


def _test(arity: int, numpy: NumPy, kinds: str) -> Function:
    return Function(arity, numpy, "bool", kinds)


def _float(arity: int, numpy: NumPy) -> Function:
    return Function(arity, numpy, "same", "f", wide=True)


FUNCTIONS: Final[dict[str, Function]] = {
    "add": _plain(2, np.add, "fiuc"),
    "sub": _plain(2, np.subtract, "fiuc"),
    "mul": _plain(2, np.multiply, "fiuc"),
    "div": _plain(2, _div, "fiuc"),
    "floordiv": _plain(2, np.floor_divide, "iu"),
    "mod": _plain(2, np.mod, "fiu"),  # the divisor's sign
    "fmod": _plain(2, np.fmod, "fiu"),  # the dividend's sign
    "pow": Function(2, _pow, "same", "fiu", wide=True),
    "min": _plain(2, np.minimum, "fiu"),
    "max": _plain(2, np.maximum, "fiu"),
    "neg": _plain(1, np.negative, "fic"),
    "abs": _plain(1, np.abs, "fiu"),
    "sign": _plain(1, np.sign, "fiu"),
    "reciprocal": _plain(1, np.reciprocal, "f"),
    "sqrt": _plain(1, np.sqrt, "f"),
    "rsqrt": _float(1, lambda x: 1 / np.sqrt(x)),
    "floor": _plain(1, np.floor, "f"),
    "ceil": _plain(1, np.ceil, "f"),
    "round": _plain(1, np.rint, "f"),  # halves to even
    "exp": _float(1, np.exp),
    "log": _float(1, np.log),
    "sin": _float(1, np.sin),
    "cos": _float(1, np.cos),
    "tan": _float(1, np.tan),
    "asin": _float(1, np.arcsin),
    "acos": _float(1, np.arccos),
    "atan": _float(1, np.arctan),
    "sinh": _float(1, np.sinh),
    "cosh": _float(1, np.cosh),
    "tanh": _float(1, np.tanh),
    "asinh": _float(1, np.arcsinh),
    "acosh": _float(1, np.arccosh),
    "atanh": _float(1, np.arctanh),
    "erf": _float(1, _erf),
    "not": _plain(1, np.logical_not, "b"),
    "and": _plain(2, np.logical_and, "b"),
    "or": _plain(2, np.logical_or, "b"),
    "xor": _plain(2, np.logical_xor, "b"),
    "bit_and": _plain(2, np.bitwise_and, "iu"),
    "bit_or": _plain(2, np.bitwise_or, "iu"),
    "bit_xor": _plain(2, np.bitwise_xor, "iu"),
    "bit_not": _plain(1, np.invert, "iu"),
    "shift_left": _plain(2, np.left_shift, "iu"),
    "shift_right": _plain(2, np.right_shift, "iu"),
    "equal": _test(2, np.equal, "fiubcs"),
    "less": _test(2, np.less, "fiu"),
    "less_equal": _test(2, np.less_equal, "fiu"),
    "greater": _test(2, np.greater, "fiu"),
    "greater_equal": _test(2, np.greater_equal, "fiu"),
    "isnan": _test(1, np.isnan, "f"),
    "isinf": _test(1, np.isinf, "f"),
    "select": _plain(3, np.where, "fiubcs"),  # condition, then, other
    "relu": _plain(1, lambda x: np.maximum(x, x.dtype.type(0)), "fi"),
    "leaky_relu": _plain(2, _leaky_relu, "f"),  # x, slope
    "prelu": _plain(2, _leaky_relu, "fiu"),  # x, slope
    "thresholded_relu": _plain(2, lambda x, alpha: np.where(x > alpha, x, x.dtype.type(0)), "f"),
    "shrink": _plain(3, _shrink, "fiu"),  # x, threshold, bias
    "elu": _float(2, _elu),  # x, alpha
    "selu": _float(3, _selu),  # x, alpha, gamma
    "celu": _float(2, _celu),  # x, alpha
    "sigmoid": _float(1, _sigmoid),
    "hard_sigmoid": _float(3, _hard_sigmoid),  # x, alpha, beta
    "hard_swish": _float(1, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "softplus": _float(1, _softplus),
    "softsign": _float(1, lambda x: x / (1 + np.abs(x))),
    "mish": _float(1, lambda x: x * np.tanh(_softplus(x))),
    "silu": _float(1, lambda x: x * _sigmoid(x)),
    "swish": _float(2, _swish),  # x, beta
    "gelu": _float(1, _gelu),
    "gelu_tanh": _float(1, _gelu_tanh),
}
