"""Pointwise functions on integer and boolean lanes: no division traps, no shift is undefined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from planck.codegen.lanes import Lanes
from planck.errors import BuildError

_BOOL: Final = {
    "and": "and", "or": "or", "xor": "xor", "mul": "and", "add": "or", "min": "and", "max": "or",
    "bit_and": "and", "bit_or": "or", "bit_xor": "xor",
}  # fmt: skip
_BOOL_COMPARE: Final = {
    "equal": "eq", "less": "ult", "less_equal": "ule", "greater": "ugt", "greater_equal": "uge",
}  # fmt: skip


def emit_bool(v: Lanes, fn: str, args: Sequence[str]) -> str:
    """A function of i1 lanes. raises: BuildError"""
    if fn in _BOOL:
        return v.let(_BOOL[fn], *args)
    if fn in _BOOL_COMPARE:
        return v.b.let(f"icmp {_BOOL_COMPARE[fn]} {v.kind} {args[0]}, {args[1]}")
    if fn in ("not", "bit_not"):
        return v.let("xor", args[0], v.c(1))
    raise BuildError(f"there is no function {fn!r} on booleans")


def emit_integer(v: Lanes, fn: str, args: Sequence[str]) -> str:
    """A function of integer lanes. raises: BuildError"""
    if fn not in _INTEGER:
        raise BuildError(f"there is no function {fn!r} on {v.kind}")
    return _INTEGER[fn](v, *args)


def _quotient(v: Lanes, x: str, y: str) -> tuple[str, str]:
    """The truncated quotient and its remainder; 0 and 0 where y is 0."""
    if _is_plain_divisor(v, y):
        q = v.let("udiv" if v.unsigned else "sdiv", x, y)
        return q, v.sub(x, v.mul(q, y))
    zero, one = v.c(0), v.c(1)
    none = v.compare("eq", y, zero)
    if v.unsigned:
        q = v.select(none, zero, v.let("udiv", x, v.select(none, one, y)))
    else:
        # The smallest integer over -1 would trap as 1 / 0 does.
        flip = v.compare("eq", y, v.c(-1))
        q = v.let("sdiv", x, v.select(v.either(none, flip), one, y))
        q = v.select(none, zero, v.select(flip, v.neg(x), q))
    return q, v.select(none, zero, v.sub(x, v.mul(q, y)))


def _is_plain_divisor(v: Lanes, y: str) -> bool:
    """Whether the divisor is a literal other than 0 and -1."""
    return not y.startswith("%") and y not in (v.c(0), v.c(-1))


def _div(v: Lanes, x: str, y: str) -> str:
    return _quotient(v, x, y)[0]


def _fmod(v: Lanes, x: str, y: str) -> str:
    return _quotient(v, x, y)[1]


def _floordiv(v: Lanes, x: str, y: str) -> str:
    q, r = _quotient(v, x, y)
    return q if v.unsigned else v.select(_apart(v, r, y), v.sub(q, v.c(1)), q)


def _mod(v: Lanes, x: str, y: str) -> str:
    r = _quotient(v, x, y)[1]
    return r if v.unsigned else v.select(_apart(v, r, y), v.add(r, y), r)


def _apart(v: Lanes, r: str, y: str) -> str:
    """Where the remainder is not zero and its sign is not the divisor's."""
    sign = v.compare("lt", v.let("xor", r, y), v.c(0))
    return v.both(sign, v.compare("ne", r, v.c(0)))


def _shift_left(v: Lanes, x: str, y: str) -> str:
    fits = v.b.let(f"icmp ult {v.kind} {y}, {v.c(v.bits)}")
    return v.select(fits, v.let("shl", x, v.select(fits, y, v.c(0))), v.c(0))


def _shift_right(v: Lanes, x: str, y: str) -> str:
    fits = v.b.let(f"icmp ult {v.kind} {y}, {v.c(v.bits)}")
    if v.unsigned:
        return v.select(fits, v.let("lshr", x, v.select(fits, y, v.c(0))), v.c(0))
    return v.let("ashr", x, v.select(fits, y, v.c(v.bits - 1)))


def _pow(v: Lanes, x: str, y: str) -> str:
    """By squaring, modulo 2^bits, exponents to 63; one over a power is 0 but for 1 and -1."""
    result, base = v.c(1), x
    for bit in range(6):
        used = v.compare("ne", v.let("and", y, v.c(1 << bit)), v.c(0))
        result = v.select(used, v.mul(result, base), result)
        base = v.mul(base, base)
    if v.unsigned:
        return result
    unit = v.either(v.compare("eq", x, v.c(1)), v.compare("eq", x, v.c(-1)))
    inverse = v.select(unit, result, v.c(0))
    return v.select(v.compare("lt", y, v.c(0)), inverse, result)


def _sign(v: Lanes, x: str) -> str:
    positive = v.select(v.compare("gt", x, v.c(0)), v.c(1), v.c(0))
    return positive if v.unsigned else v.select(v.compare("lt", x, v.c(0)), v.c(-1), positive)


def _prelu(v: Lanes, x: str, slope: str) -> str:
    return x if v.unsigned else v.select(v.compare("lt", x, v.c(0)), v.mul(x, slope), x)


def _shrink(v: Lanes, x: str, border: str, bias: str) -> str:
    inner = v.select(v.compare("gt", x, border), v.sub(x, bias), v.c(0))
    return v.select(v.compare("lt", x, v.neg(border)), v.add(x, bias), inner)


def _bitwise(name: str) -> Callable[[Lanes, str, str], str]:
    return lambda v, x, y: v.let(name, x, y)


def _same(v: Lanes, x: str) -> str:
    return x


def _never(v: Lanes, x: str) -> str:
    return v.compare("ne", x, x)


_INTEGER: Final[dict[str, Callable[..., str]]] = {
    "add": Lanes.add,
    "sub": Lanes.sub,
    "mul": Lanes.mul,
    "div": _div,
    "floordiv": _floordiv,
    "mod": _mod,
    "fmod": _fmod,
    "pow": _pow,
    "min": Lanes.least,
    "max": Lanes.most,
    "neg": Lanes.neg,
    "abs": lambda v, x: x if v.unsigned else v.abs(x),
    "sign": _sign,
    "floor": _same,
    "ceil": _same,
    "round": _same,
    "isnan": _never,
    "isinf": _never,
    "relu": lambda v, x: x if v.unsigned else v.most(v.c(0), x),
    "prelu": _prelu,
    "shrink": _shrink,
    "bit_and": _bitwise("and"),
    "bit_or": _bitwise("or"),
    "bit_xor": _bitwise("xor"),
    "bit_not": lambda v, x: v.let("xor", x, v.c(-1)),
    "shift_left": _shift_left,
    "shift_right": _shift_right,
}
