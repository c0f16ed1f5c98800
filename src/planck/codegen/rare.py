"""Trigonometric and hyperbolic functions and powers: double precision lanes only.

Floats go through double, which makes them right to the last place and keeps one version of each.
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
    one, zero = v.c(1.0), v.c(0.0)
    logarithm = log(v, v.abs(x))
    size = exp(v, v.mul(y, logarithm))
    is_one = v.either(v.compare("eq", logarithm, zero), v.compare("eq", y, zero))
    size = v.select(is_one, one, size)
    whole = v.compare("eq", v.round(y), y)
    natural = v.both(v.both(whole, v.compare("ge", y, zero)), v.compare("eq", v.round(x), x))
    size = v.select(natural, v.round(size), size)
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
