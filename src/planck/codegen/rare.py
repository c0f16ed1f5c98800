"""Trigonometric and hyperbolic functions and powers: double precision lanes only.

Floats go through double, which makes them right to the last place and keeps one version of each;
of sines, cosines and powers there are others for floats, half as long.

Notebook (AMD EPYC of Zen 1, AVX2): those for floats were predicted to take half the time, from
their instructions. In loops over two vectors of floats, sin 215 -> 105, cos 222 -> 113, pow 608 ->
397, with AVX-512 109 -> 57, 112 -> 62, 232 -> 161; sin and cos err 0.50 units in the last place,
pow 0.503. On one thread, with whole calls and ONNX Runtime in brackets: 524,288 powers 6,150 ->
4,070 us (5,380) and 1M sines 4,560 -> 2,120 us (3,240). One polynomial over half a turn replaces
two over quarters and their choice.
"""

from __future__ import annotations

import math
from typing import Final

from planck.codegen.lanes import Lanes
from planck.codegen.maths import exp, expm1, log, log1p

# pi / 2 in three parts; the first two have 33 bits, so that n * part is exact for n < 2^20.
# source: fdlibm, e_rem_pio2.c
_HALF_PI: Final = (
    1.57079632673412561417e00,
    6.07710050630396597660e-11,
    2.02226624879595063154e-21,
)
_SIN: Final = (
    -7.585486485235938e-13, 1.6058510875319195e-10, -2.505210610025599e-08, 2.7557319218954762e-06,
    -0.00019841269841264567, 0.008333333333333331, -0.16666666666666666,
)  # fmt: skip
_COS: Final = (
    4.745198807202876e-14, -1.1470449354466773e-11, 2.0876755717584403e-09, -2.75573192211891e-07,
    2.4801587301584367e-05, -0.0013888888888888887, 0.041666666666666664,
)  # fmt: skip
_ATAN: Final = (
    0.016148228546771868, -0.034445844423577385, 0.045467195095551666, -0.0522938047378184,
    0.058787824694439814, -0.06666412077725274, 0.07692295658327873, -0.09090908728587459,
    0.11111111104652255, -0.14285714285654638, 0.19999999999999785, -0.3333333333333333,
)  # fmt: skip
_ASIN: Final = (
    0.02877844261259304, -0.014881409392818066, 0.017419357964884856, 0.00545087818772055,
    0.010324318288744113, 0.011478952690257387, 0.013971235301124539, 0.017352391265909227,
    0.022372173002005596, 0.030381944137085216, 0.04464285714637338, 0.07499999999998425,
    0.16666666666666669,
)  # fmt: skip


# For results that are rounded to floats: sin(r) = r + r z S(z), z = r^2, for |r| <= pi / 2; the R
# of `maths.log` and the Q of `maths.exp`. Minimax of the relative error by Lawson's weights on
# least squares: 2.4e-11, 4.8e-12 and 5.2e-11.
_SIN_SHORT: Final = (
    -2.3888904834940882e-08, 2.752538417381389e-06, -0.00019840868205036024, 0.008333331108566166,
    -0.16666666626148777,
)  # fmt: skip
_LOG_SHORT: Final = (
    0.23582771092659782, 0.2853727784895777, 0.40000335640301243, 0.6666666564363729,
)  # fmt: skip
_EXP_SHORT: Final = (
    0.00019790353414601573, 0.0013944649210063732, 0.008333497009268356, 0.04166629508523536,
    0.16666665869400638, 0.5000000067644857, 1.0, 1.0,
)  # fmt: skip
# What leaves a whole number that is added to it in the low bits of a double.
_MAGIC: Final = 1.5 * 2.0**52


def sin_short(v: Lanes, x: str) -> str:
    """sin of a float, within 3e-11 before it is rounded; large angles as `sin`."""
    return _turned_short(v, x, v.mul(x, v.c(1.0 / math.pi)), 0.0)


def cos_short(v: Lanes, x: str) -> str:
    """cos(x) = sin(x + pi / 2)."""
    return _turned_short(v, x, v.fma(x, v.c(1.0 / math.pi), v.c(0.5)), 0.5)


def _turned_short(v: Lanes, x: str, halves: str, back: float) -> str:
    """(-1)^n sin(x - (n - back) pi), n the whole number next to `halves`."""
    i = v.to("i64")
    moved = v.add(halves, v.c(_MAGIC))
    n = v.sub(moved, v.c(_MAGIC))
    n = v.sub(n, v.c(back)) if back else n
    r = x
    for part in _HALF_PI:
        r = v.fma(n, v.c(-2.0 * part), r)
    z = v.mul(r, r)
    result = v.fma(v.mul(r, z), v.polynomial(z, _SIN_SHORT), r)
    return v.of_bits(i.let("xor", v.bits_of(result), i.let("shl", v.bits_of(moved), i.c(63))))


def _log_short(v: Lanes, t: str) -> str:
    """log(t) of a positive float, -inf of 0; doubles have no denormals among floats."""
    i = v.to("i64")
    least = 0x3FE6A09E667F3BCD  # sqrt(1/2): the mantissa goes from there to sqrt(2)
    offset = i.sub(v.bits_of(t), i.c(least))
    raised = i.let("lshr", i.add(offset, i.c(1023 << 52)), i.c(52))
    whole = v.of_bits(i.let("or", raised, v.bits_of(v.c(2.0**52))))
    k = v.sub(whole, v.c(2.0**52 + 1023.0))
    mantissa = v.of_bits(i.add(i.let("and", offset, i.c((1 << 52) - 1)), i.c(least)))
    f = v.sub(mantissa, v.c(1.0))
    s = v.div(f, v.add(f, v.c(2.0)))
    z = v.mul(s, s)
    near = v.fma(v.mul(s, z), v.polynomial(z, _LOG_SHORT), v.add(s, s))
    result = v.fma(k, v.c(math.log(2.0)), near)
    result = v.select(v.compare("lt", t, v.c(math.inf)), result, t)
    return v.select(v.compare("eq", t, v.c(0.0)), v.c(-math.inf), result)


def power_short(v: Lanes, x: str, y: str) -> str:
    """x^y of floats, within 1e-9 before it is rounded, with the special cases of `power`."""
    logarithm = _log_short(v, v.abs(x))
    exponent = v.most(v.c(-110.0), v.least(v.c(100.0), v.mul(y, logarithm)))
    moved = v.add(v.mul(exponent, v.c(1.0 / math.log(2.0))), v.c(_MAGIC + 1023.0))
    n = v.sub(moved, v.c(_MAGIC + 1023.0))
    r = v.fma(n, v.c(-math.log(2.0)), exponent)
    i = v.to("i64")
    scale = v.of_bits(i.let("shl", v.bits_of(moved), i.c(52)))
    return _signed(v, x, y, logarithm, v.mul(v.polynomial(r, _EXP_SHORT), scale))


def _sin_cos(v: Lanes, x: str) -> tuple[str, str, str]:
    """sin and cos of x reduced to a quarter turn, and the quarter's number (as i64 lanes)."""
    n = v.round(v.mul(x, v.c(2.0 / math.pi)))
    r = x
    for part in _HALF_PI:
        r = v.fma(n, v.c(-part), r)
    z = v.mul(r, r)
    sine = v.fma(v.mul(r, z), v.polynomial(z, _SIN), r)
    half = v.fma(z, v.c(-0.5), v.c(1.0))
    cosine = v.fma(v.mul(z, z), v.polynomial(z, _COS), half)
    # n mod 4 in floating point first: large n would not fit the trick of the low bits
    quarter = v.sub(n, v.mul(v.floor(v.mul(n, v.c(0.25))), v.c(4.0)))
    i = v.to("i64")
    return sine, cosine, i.let("and", v.bits_of(v.add(quarter, v.c(2.0**52))), i.c(3))


def _turned(v: Lanes, x: str, by: int) -> str:
    """sin(x + by * pi / 2)."""
    i = v.to("i64")
    sine, cosine, quarter = _sin_cos(v, x)
    quarter = i.add(quarter, i.c(by)) if by else quarter
    odd = i.compare("ne", i.let("and", quarter, i.c(1)), i.c(0))
    result = v.select(odd, cosine, sine)
    flip = i.let("shl", i.let("and", quarter, i.c(2)), i.c(62))
    return v.of_bits(i.let("xor", v.bits_of(result), flip))


def sin(v: Lanes, x: str) -> str:
    """Precise for |x| up to about 1e6 turns; larger angles lose digits, as the angle itself has."""
    return _turned(v, x, 0)


def cos(v: Lanes, x: str) -> str:
    return _turned(v, x, 1)


def tan(v: Lanes, x: str) -> str:
    i = v.to("i64")
    sine, cosine, quarter = _sin_cos(v, x)
    odd = i.compare("ne", i.let("and", quarter, i.c(1)), i.c(0))
    return v.div(v.select(odd, v.neg(cosine), sine), v.select(odd, sine, cosine))


def atan(v: Lanes, x: str) -> str:
    t = v.abs(x)
    large = v.compare("gt", t, v.c(math.tan(3 * math.pi / 8)))
    middle = v.compare("gt", t, v.c(math.tan(math.pi / 8)))
    over = v.select(large, v.c(-1.0), v.select(middle, v.sub(t, v.c(1.0)), t))
    under = v.select(large, t, v.select(middle, v.add(t, v.c(1.0)), v.c(1.0)))
    base = v.select(large, v.c(math.pi / 2), v.select(middle, v.c(math.pi / 4), v.c(0.0)))
    u = v.div(over, under)
    z = v.mul(u, u)
    angle = v.fma(v.mul(u, z), v.polynomial(z, _ATAN), u)
    return v.sign_of(v.add(base, angle), x)


def _asin_parts(v: Lanes, x: str) -> tuple[str, str]:
    """asin of |x|, or of sqrt((1 - |x|) / 2) past a half; and which of the two."""
    t = v.abs(x)
    past = v.compare("gt", t, v.c(0.5))
    folded = v.mul(v.sub(v.c(1.0), t), v.c(0.5))
    z = v.select(past, folded, v.mul(t, t))
    s = v.select(past, v.call("sqrt", folded), t)
    return v.fma(v.mul(s, z), v.polynomial(z, _ASIN), s), past


def asin(v: Lanes, x: str) -> str:
    angle, past = _asin_parts(v, x)
    return v.sign_of(v.select(past, v.fma(angle, v.c(-2.0), v.c(math.pi / 2)), angle), x)


def acos(v: Lanes, x: str) -> str:
    angle, past = _asin_parts(v, x)
    negative = v.compare("lt", x, v.c(0.0))
    twice = v.add(angle, angle)
    outer = v.select(negative, v.sub(v.c(math.pi), twice), twice)
    inner = v.sub(v.c(math.pi / 2), v.sign_of(angle, x))
    return v.select(past, outer, inner)


def sinh(v: Lanes, x: str) -> str:
    t = v.abs(x)
    e = expm1(v, t)
    near = v.mul(v.add(e, v.div(e, v.add(e, v.c(1.0)))), v.c(0.5))
    # e^t = (e^(t/2))^2 does not overflow before sinh does
    root = exp(v, v.mul(t, v.c(0.5)))
    far = v.mul(v.mul(root, v.c(0.5)), root)
    return v.sign_of(v.select(v.compare("lt", t, v.c(40.0)), near, far), x)


def cosh(v: Lanes, x: str) -> str:
    root = exp(v, v.mul(v.abs(x), v.c(0.5)))
    whole = v.mul(v.mul(root, v.c(0.5)), root)
    return v.add(whole, v.div(v.c(0.5), v.mul(root, root)))


def asinh(v: Lanes, x: str) -> str:
    t = v.abs(x)
    z = v.mul(t, t)
    root = v.add(v.call("sqrt", v.add(z, v.c(1.0))), v.c(1.0))
    near = log1p(v, v.add(t, v.div(z, root)))
    far = v.add(log(v, t), v.c(math.log(2.0)))
    return v.sign_of(v.select(v.compare("lt", t, v.c(1e9)), near, far), x)


def acosh(v: Lanes, x: str) -> str:
    t = v.sub(x, v.c(1.0))
    near = log1p(v, v.add(t, v.call("sqrt", v.fma(t, t, v.add(t, t)))))
    far = v.add(log(v, x), v.c(math.log(2.0)))
    result = v.select(v.compare("lt", x, v.c(1e9)), near, far)
    return v.select(v.compare("lt", x, v.c(1.0)), v.c(math.nan), result)


def atanh(v: Lanes, x: str) -> str:
    t = v.abs(x)
    angle = v.mul(log1p(v, v.div(v.add(t, t), v.sub(v.c(1.0), t))), v.c(0.5))
    angle = v.select(v.compare("eq", t, v.c(1.0)), v.c(math.inf), angle)
    return v.sign_of(v.select(v.compare("gt", t, v.c(1.0)), v.c(math.nan), angle), x)


def power(v: Lanes, x: str, y: str) -> str:
    """x^y with the special cases of C's pow; a whole power of a whole number is whole."""
    logarithm = log(v, v.abs(x))
    size = exp(v, v.mul(y, logarithm))
    natural = v.both(v.compare("eq", v.round(y), y), v.compare("ge", y, v.c(0.0)))
    natural = v.both(natural, v.compare("eq", v.round(x), x))
    return _signed(v, x, y, logarithm, v.select(natural, v.round(size), size))


def _signed(v: Lanes, x: str, y: str, logarithm: str, size: str) -> str:
    """x^y of |x|^y, and of the logarithm of |x|."""
    one, zero = v.c(1.0), v.c(0.0)
    is_one = v.either(v.compare("eq", logarithm, zero), v.compare("eq", y, zero))
    size = v.select(is_one, one, size)
    whole = v.compare("eq", v.round(y), y)
    half = v.mul(y, v.c(0.5))
    odd = v.both(whole, v.compare("ne", v.round(half), half))
    flipped = v.select(odd, v.sign_of(size, x), size)
    below = v.both(v.compare("lt", x, zero), v.compare("gt", x, v.c(-math.inf)))
    broken = v.both(below, v.compare("ne", v.round(y), y))
    return v.select(broken, v.c(math.nan), flipped)


def remainder(v: Lanes, x: str, y: str) -> str:
    """fmod: x - trunc(x / y) y, exact while the quotient has fewer than 53 bits."""
    quotient = v.trunc(v.div(x, y))
    rest = v.fma(quotient, v.neg(y), x)
    size, span, positive = v.abs(rest), v.abs(y), v.sign_of(rest, x)
    wrong_side = v.both(v.compare("ne", positive, rest), v.compare("ne", rest, v.c(0.0)))
    size = v.select(wrong_side, v.sub(span, size), size)
    size = v.select(v.compare("ge", size, span), v.sub(size, span), size)
    result = v.sign_of(size, x)
    endless = v.both(v.compare("eq", span, v.c(math.inf)), v.compare("lt", v.abs(x), span))
    result = v.select(endless, x, result)
    return v.select(v.compare("eq", span, v.c(0.0)), v.c(math.nan), result)
