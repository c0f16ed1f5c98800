"""Every pointwise function as a Triton expression; longer ones are functions of the module.

Values are blocks, or scalars, of the type that `register` names: float16 and bfloat16 are computed
in float32. What libdevice computes is within two units in the last place (CUDA C++ Programming
Guide, mathematical functions), and linked into the cubin ahead of time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from planck import dtypes
from planck.codegen.triton import minifloat
from planck.dtypes import DType
from planck.errors import BuildError

HEADER: Final = """import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait
"""

_NAMES: Final = {
    dtypes.f64: "float64", dtypes.f32: "float32", dtypes.f16: "float16", dtypes.bf16: "bfloat16",
    dtypes.i64: "int64", dtypes.i32: "int32", dtypes.i16: "int16", dtypes.i8: "int8",
    dtypes.u64: "uint64", dtypes.u32: "uint32", dtypes.u16: "uint16", dtypes.u8: "uint8",
    dtypes.bool_: "int1",
    dtypes.i4: "int8", dtypes.i2: "int8", dtypes.u4: "uint8", dtypes.u2: "uint8",
    **dict.fromkeys(minifloat.SMALL, "uint8"),
}  # fmt: skip
_POINTERS: Final = {"float": "fp", "bfloat": "bf", "int": "i", "uint": "u"}


def supported(dtype: DType) -> bool:
    return dtype in _NAMES


def register(dtype: DType) -> str:
    """The type in which values of a dtype are computed: "tl.float32" for shorter floats too."""
    return f"tl.{_NAMES[dtypes.f32 if dtype.is_float and dtype.bits < 32 else dtype]}"


def memory(dtype: DType) -> str:
    """The type in which they lie in memory: what has fewer bits than a byte is one."""
    return "tl.int8" if dtype is dtypes.bool_ else f"tl.{_NAMES[dtype]}"


def pointer(dtype: DType) -> str:
    """A parameter's type: "*fp16"."""
    name = memory(dtype).removeprefix("tl.")
    kind = name.rstrip("0123456789")
    return f"*{_POINTERS[kind]}{name.removeprefix(kind)}"


def literal(value: float | int | bool, dtype: DType) -> str:
    """A block of one number, of a register's type."""
    return f"tl.full([1, 1], {plain(value)}, {register(dtype)})"


def plain(value: float | int | bool) -> str:
    """A number as Python writes it, so that it may stand in a kernel."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


class Functions:
    """Writes calls; `text` is the source of the functions that they need."""

    def __init__(self) -> None:
        self._needed: dict[str, None] = {}

    @property
    def text(self) -> str:
        return "".join(f"\n\n@triton.jit\n{_HELPERS[name].strip()}\n" for name in self._needed)

    def need(self, name: str) -> str:
        """The name of a function of the module, which will stand in `text`."""
        if name not in self._needed:
            for other in _HELPERS:
                if f"{other}(" in _HELPERS[name].partition(":")[2]:
                    self.need(other)
            self._needed[name] = None
        return name

    def call(
        self,
        fn: str,
        args: Sequence[str],
        dtype: DType,
        numbers: Sequence[float | None] = (),
        short: bool = False,
    ) -> str:
        """A pointwise function's expression.

        args:     names of values, or literals
        dtype:    of the operands (of select, of the last two)
        numbers:  the values of operands that are known
        short:    whether the result is rounded to 16 bits: the hardware's exponential will do
        """
        if short and fn in _SHORT:
            return f"{self.need(_SHORT[fn])}({', '.join(args)})"
        if fn == "pow" and dtype.is_float and len(numbers) == 2 and numbers[1] in _POWERS:
            return _POWERS[numbers[1]].format(args[0])
        for table in _tables(dtype):
            if fn in table:
                text = table[fn]
                if text in _HELPERS:
                    return f"{self.need(text)}({', '.join(args)})"
                return text.format(*args)
        raise BuildError(f"there is no function {fn!r} on {dtype} for a GPU")

    def cast(self, value: str, given: DType, to: DType) -> str:
        """Another dtype, as ONNX Cast: floats truncate, integers wrap, all but 0 is true."""
        if to is dtypes.bool_:
            return f"({value} != 0)"
        if to.is_float and to.bits < 32:
            known = given.is_float and given is not dtypes.f64
            inner = value if known else f"{value}.to(tl.float32)"
            return self.widened(self.narrowed(inner, to), to)
        if given.is_float and to.is_integer:
            wrapped = f"{value}.to(tl.int64).to({register(to)})"
            if to is dtypes.u64:  # a GPU's own conversion makes zeros of what is negative
                return f"tl.where({value} < 0, {wrapped}, {value}.to(tl.uint64))"
            return self._low_bits(wrapped, to)
        return self._low_bits(f"{value}.to({register(to)})", to)

    def widened(self, value: str, dtype: DType) -> str:
        """An element as it lies in memory -> as it is computed with."""
        if dtype is dtypes.bool_:
            return f"({value} != 0)"
        if dtype in minifloat.SMALL:
            return f"{self.need(minifloat.reader(dtype))}({value})"
        if dtype in dtypes.SHORT_FLOATS:
            return f"{value}.to(tl.float32)"
        return self._low_bits(value, dtype)

    def narrowed(self, value: str, dtype: DType) -> str:
        """A value as it lies in memory, rounded to nearest even."""
        if dtype in minifloat.SMALL:
            return f"{self.need(minifloat.writer(dtype))}({value})"
        return f"{value}.to({memory(dtype)})"

    def _low_bits(self, value: str, dtype: DType) -> str:
        """Of a byte only as many bits as the dtype has mean something; with their sign."""
        if dtype.is_float or dtype.bits >= 8:
            return value
        away = 8 - dtype.bits
        return f"(({value} << {away}) >> {away})"


def _tables(dtype: DType) -> tuple[dict[str, str], ...]:
    if dtype is dtypes.bool_:
        return (_BOOL, _ANY)
    if dtype.is_float:
        return (_FLOAT64, _FLOAT, _ANY) if dtype is dtypes.f64 else (_FLOAT, _ANY)
    return (_UNSIGNED, _INTEGER, _ANY) if dtype.kind == "u" else (_INTEGER, _ANY)


_POWERS: Final[dict[float | None, str]] = {
    1.0: "{0}", 2.0: "({0} * {0})", 3.0: "({0} * {0} * {0})",
}  # fmt: skip

_ANY: Final[dict[str, str]] = {
    "equal": "({0} == {1})", "less": "({0} < {1})", "less_equal": "({0} <= {1})",
    "greater": "({0} > {1})", "greater_equal": "({0} >= {1})",
    "select": "tl.where({0}, {1}, {2})",
    "add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "neg": "(-{0})",
    "min": "_least", "max": "_most", "abs": "tl.abs({0})",
    "prelu": "tl.where({0} < 0, {1} * {0}, {0})",
    "shrink": "_shrink",
    "sign": "tl.where({0} > 0, 1, tl.where({0} < 0, -1, {0}))",
    "relu": "tl.where({0} < 0, 0, {0})",
}  # fmt: skip

_BOOL: Final[dict[str, str]] = {
    "not": "(~{0})", "and": "({0} & {1})", "or": "({0} | {1})", "xor": "({0} ^ {1})",
    "equal": "(~({0} ^ {1}))",
    "select": "(({0} & {1}) | (~{0} & {2}))",
}  # fmt: skip

_INTEGER: Final[dict[str, str]] = {
    "div": "_quotient", "floordiv": "_floor_quotient", "fmod": "_remainder", "mod": "_modulo",
    "pow": "_integer_power",
    "bit_and": "({0} & {1})", "bit_or": "({0} | {1})", "bit_xor": "({0} ^ {1})",
    "bit_not": "(~{0})", "shift_left": "_shift_left", "shift_right": "_shift_right",
}  # fmt: skip

_UNSIGNED: Final[dict[str, str]] = {
    "floordiv": "_quotient", "mod": "_remainder", "abs": "{0}", "prelu": "{0}", "relu": "{0}",
    "sign": "tl.where({0} > 0, 1, {0})", "shift_right": "_shift_right_unsigned",
}  # fmt: skip

_FLOAT: Final[dict[str, str]] = {
    "div": "tl.div_rn({0}, {1})",
    "mod": "_float_modulo", "fmod": "libdevice.fmod({0}, {1})", "pow": "libdevice.pow({0}, {1})",
    "floordiv": "tl.floor({0} / {1})",
    "reciprocal": "_reciprocal", "sqrt": "tl.sqrt_rn({0})", "rsqrt": "tl.rsqrt({0})",
    "floor": "tl.floor({0})", "ceil": "tl.ceil({0})", "round": "libdevice.rint({0})",
    **{
        name: f"libdevice.{name}({{0}})"
        for name in (
            "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
            "asinh", "acosh", "atanh", "erf",
        )
    },
    "isnan": "({0} != {0})", "isinf": '(tl.abs({0}) == float("inf"))',
    "sign": "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, {0}))",
    "relu": "tl.where({0} < 0, 0.0, {0})",
    "leaky_relu": "tl.where({0} < 0, {1} * {0}, {0})",
    "thresholded_relu": "tl.where({0} > {1}, {0}, 0.0)",
    "elu": "tl.where({0} > 0, {0}, {1} * libdevice.expm1({0}))",
    "selu": "({2} * tl.where({0} > 0, {0}, {1} * libdevice.expm1({0})))",
    "celu": "tl.where({0} > 0, {0}, {1} * libdevice.expm1({0} / {1}))",
    "sigmoid": "_sigmoid", "silu": "_silu", "swish": "_swish",
    "hard_sigmoid": "_hard_sigmoid",
    "hard_swish": "_hard_swish",
    "softplus": "_softplus", "softsign": "({0} / (1.0 + tl.abs({0})))",
    "mish": "_mish", "gelu": "_gelu", "gelu_tanh": "_gelu_tanh",
}  # fmt: skip

_FLOAT64: Final[dict[str, str]] = {
    "div": "({0} / {1})", "sqrt": "tl.sqrt({0})", "reciprocal": "(1.0 / {0})",
    "rsqrt": "(1.0 / tl.sqrt({0}))",
}  # fmt: skip

_SQRT_HALF: Final = math.sqrt(0.5)
_TANH_SCALE: Final = math.sqrt(2 / math.pi)

_HELPERS: Final[dict[str, str]] = {
    **minifloat.HELPERS,
    "_least": """
def _least(a, b):
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)""",
    "_most": """
def _most(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)""",
    "_sum": """
def _sum(a, b):
    return a + b""",
    "_product": """
def _product(a, b):
    return a * b""",
    "_first_most": """
def _first_most(a, i, b, j):
    same = (a == b) | ((a != a) & (b != b))
    first = (a > b) | ((a != a) & (b == b)) | (same & (i < j))
    return tl.where(first, a, b), tl.where(first, i, j)""",
    "_first_least": """
def _first_least(a, i, b, j):
    same = (a == b) | ((a != a) & (b != b))
    first = (a < b) | ((a != a) & (b == b)) | (same & (i < j))
    return tl.where(first, a, b), tl.where(first, i, j)""",
    "_last_most": """
def _last_most(a, i, b, j):
    same = (a == b) | ((a != a) & (b != b))
    first = (a > b) | ((a != a) & (b == b)) | (same & (i > j))
    return tl.where(first, a, b), tl.where(first, i, j)""",
    "_last_least": """
def _last_least(a, i, b, j):
    same = (a == b) | ((a != a) & (b != b))
    first = (a < b) | ((a != a) & (b == b)) | (same & (i > j))
    return tl.where(first, a, b), tl.where(first, i, j)""",
    "_shrink": """
def _shrink(x, threshold, bias):
    inner = tl.where(x > threshold, x - bias, tl.zeros_like(x))
    return tl.where(x < -threshold, x + bias, inner)""",
    "_quotient": """
def _quotient(a, b):
    return tl.where(b == 0, b, a // tl.where(b == 0, b + 1, b))""",
    "_remainder": """
def _remainder(a, b):
    return tl.where(b == 0, b, a % tl.where(b == 0, b + 1, b))""",
    "_floor_quotient": """
def _floor_quotient(a, b):
    whole = _quotient(a, b)
    return tl.where((a - whole * b != 0) & ((a < 0) != (b < 0)) & (b != 0), whole - 1, whole)""",
    "_modulo": """
def _modulo(a, b):
    rest = _remainder(a, b)
    return tl.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)""",
    # No shift is by as many bits as there are, which gives the compiler nothing to rely on.
    "_shift_left": """
def _shift_left(x, y):
    fits = (y >= 0) & (y < x.dtype.primitive_bitwidth)
    return tl.where(fits, x << tl.where(fits, y, y * 0), x * 0)""",
    "_shift_right": """
def _shift_right(x, y):
    last = x.dtype.primitive_bitwidth - 1
    return x >> tl.where((y >= 0) & (y < last), y, y * 0 + last)""",
    "_shift_right_unsigned": """
def _shift_right_unsigned(x, y):
    fits = y < x.dtype.primitive_bitwidth
    return tl.where(fits, x >> tl.where(fits, y, y * 0), x * 0)""",
    "_integer_power": """
def _integer_power(a, b):
    result = a * 0 + 1
    power = a
    left = tl.where(b < 0, b * 0, b)
    for _ in range(32):
        result = tl.where((left & 1) != 0, result * power, result)
        power = power * power
        left = left >> 1
    odd = tl.where((b & 1) != 0, a, a * a)
    return tl.where(b < 0, tl.where((a == 1) | (a * a == 1), odd, a * 0), result)""",
    "_float_modulo": """
def _float_modulo(x, y):
    rest = libdevice.fmod(x, y)
    rest = tl.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)
    return tl.where(rest == 0, libdevice.copysign(rest, y), rest)""",
    "_reciprocal": """
def _reciprocal(x):
    return tl.div_rn(tl.full([1, 1], 1.0, x.dtype), x)""",
    "_sigmoid": """
def _sigmoid(x):
    small = libdevice.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1.0 + small)""",
    "_silu": """
def _silu(x):
    return x * _sigmoid(x)""",
    "_swish": """
def _swish(x, beta):
    return x * _sigmoid(beta * x)""",
    # The hardware's quotient loses denormals alone: 7 instructions, not 14.
    "_short_sigmoid": f"""
def _short_sigmoid(x):
    return libdevice.fast_dividef(1.0, 1.0 + tl.exp2({-math.log2(math.e)!r} * x))""",
    "_short_silu": f"""
def _short_silu(x):
    return libdevice.fast_dividef(x, 1.0 + tl.exp2({-math.log2(math.e)!r} * x))""",
    # The tail of the normal distribution, erfc(z / sqrt(2)) / 2, is 2^p(z) within 8.4e-5 of itself
    # as far as z 2^p(z) is a normal float16, and nothing (2^-123) beyond 12. GELU is max(x, 0) less
    # z times the tail: 11 instructions, where a quotient and an exponential took 27. A sixth power
    # for 5.3e-6 costs 1.4 us of the 71 that BERT's widest product takes at batch 64 on an H200;
    # with tanh.approx in its place it would take 68, but tanh errs by 5e-4.
    "_short_gelu": """
def _short_gelu(x):
    z = tl.minimum(tl.abs(x), 12.0)
    p = (-0.000320220551 * z + 0.00582447038) * z - 0.0482279109
    p = (p * z - 0.464133079) * z - 1.14917078
    tail = tl.exp2(p * z - 1.00012093)
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) - z * tail""",
    "_clip": """
def _clip(x):
    return tl.where(x < 0.0, 0.0, tl.where(x > 1.0, 1.0, x))""",
    "_hard_sigmoid": """
def _hard_sigmoid(x, alpha, beta):
    return _clip(alpha * x + beta)""",
    "_hard_swish": f"""
def _hard_swish(x):
    return x * _clip(x * {1 / 6!r} + 0.5)""",
    "_softplus": """
def _softplus(x):
    return tl.where(x < 0, 0.0, x) + libdevice.log1p(libdevice.exp(-tl.abs(x)))""",
    "_mish": """
def _mish(x):
    small = libdevice.exp(-tl.abs(x))
    up = tl.where(x >= 0, 1.0 + 2.0 * small, small * small + 2.0 * small)
    down = tl.where(x >= 0, up + 2.0 * small * small, up + 2.0)
    return x * (up / down)""",
    "_gelu": f"""
def _gelu(x):
    return 0.5 * x * libdevice.erfc(x * {-_SQRT_HALF!r})""",
    # (1 + tanh(u)) / 2 is the sigmoid of 2 u, which loses nothing where u is negative.
    "_gelu_tanh": f"""
def _gelu_tanh(x):
    return x * _sigmoid({2 * _TANH_SCALE!r} * (x + 0.044715 * x * x * x))""",
}
"""Functions of a kernel's module; each names only those before it, or standing in this table."""

_SHORT: Final = {"sigmoid": "_short_sigmoid", "silu": "_short_silu", "gelu": "_short_gelu"}
"""Functions that are exact enough for a result of 16 bits."""
