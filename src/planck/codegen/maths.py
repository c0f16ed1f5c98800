"""exp, log, tanh, erf and their family as polynomials, for float and double lanes.

Coefficients are Chebyshev fits made with 50 digits; float versions are within 2 or 3 units in the
last place, double versions within 1e-14 of the value. Infinities, NaN, overflow and underflow come
out as IEEE 754 has them. What a network rarely asks for on floats goes through double.
"""

from __future__ import annotations

import math
from typing import Final

from planck.codegen.lanes import Lanes, count

_LN2: Final = math.log(2.0)
# ln 2 = high + low, the high part short enough for n * high to be exact without a fused multiply.
_LN2_PARTS: Final = {
    32: (0.693359375, -2.12194440054690583e-4),
    64: (0.693147180369123816490, 1.90821492927058770002e-10),
}
# exp(r) = 1 + r + r^2 Q(r) for |r| <= ln(2) / 2
_EXP: Final = {
    32: (
        0.0013927684616575004, 0.00836438069329107, 0.04166654542109553, 0.16666569628115477, 0.5,
    ),
    64: (
        2.0916212837493853e-09, 2.5107353767261877e-08, 2.7557269903215795e-07,
        2.755725016302918e-06, 2.4801587328555858e-05, 0.00019841269879033045,
        0.001388888888888287, 0.008333333333324906, 0.04166666666666667, 0.1666666666666667, 0.5,
    ),
}  # fmt: skip
# log(1 + f) = 2 atanh(s), s = f / (2 + f); 2 atanh(s) = 2 s + s^3 R(s^2) for |s| <= 0.1716
_LOG: Final = {
    32: (0.23341943388714562, 0.28550396959618013, 0.40000125594554364, 0.6666666654988318),
    64: (
        0.1310072138350349, 0.13267418596474884, 0.15386290534658992, 0.181817947008978,
        0.2222222240054776, 0.2857142857076445, 0.4000000000000094, 0.6666666666666666,
    ),
}  # fmt: skip
# The same R for s <= 1/3, which is log(1 + u) for u in 0..1
_LOG_UNIT: Final = {
    32: (
        0.20787616855746752, 0.17464702465440773, 0.22264711209001325, 0.2857030572188366,
        0.4000001076994966, 0.6666666665002361,
    ),
    64: (
        0.14938828485979846, 0.052834122281372714, 0.09231944273368248, 0.09457163207211484,
        0.10531837812039883, 0.1176439410267377, 0.13333345323305978, 0.15384615076709174,
        0.18181818186880555, 0.22222222222172788, 0.2857142857142882, 0.4, 0.6666666666666666,
    ),
}  # fmt: skip
# erf(x) = x + x P(x^2) for |x| <= 0.93 (float), 1 (double)
_ERF: Final = {
    32: (
        -0.0005967310878324188, 0.004988906025370949, -0.02676399513752354, 0.11281754130998366,
        -0.3761248904464929, 0.12837914912142367,
    ),
    64: (
        -4.230945824295338e-12, 8.709045129053106e-11, -1.216456005728345e-09,
        1.4792401209404813e-08, -1.6364642158167616e-07, 1.6462045441468418e-06,
        -1.4925647567519332e-05, 0.00012055332902888736, -0.000854832702193483,
        0.0052239776254232985, -0.02686617064512984, 0.1128379167095512, -0.37612638903183754,
        0.1283791670955126,
    ),
}  # fmt: skip
# log(erfc(t)) = t G(t) for 0.92 <= t <= 4
_ERFC_LOG: Final = (
    1.0460656819238446e-06, -3.438850877177664e-05, 0.0004988250081507236, -0.004303789307578727,
    0.02513955031271238, -0.1078556529302296, -0.6341481838241437, -1.1289027981360038,
)  # fmt: skip
# erfc(t) exp(t^2) = H((t - 4) / (t + 4)) for 1 <= t <= 6
_ERFC_SCALED: Final = (
    -5.85910446919838e-08, -5.322543261427787e-07, -6.046543839265747e-07, 2.8684006931372496e-06,
    -1.908366143817368e-06, -2.2548735007796327e-05, 7.898562127429784e-05, -2.176173200440243e-05,
    -0.0007991269466505425, 0.0040602636087058, -0.012843946028546889, 0.03129905651921748,
    -0.06310781563975891, 0.10896317739889828, -0.16425781669730913, 0.2187196789182649,
    -0.25906804876017164, 0.13699945762506138,
)  # fmt: skip


def exp(v: Lanes, x: str) -> str:
    """e^x: infinity from 88.73 (709.79) on, denormals below, zero under -104 (-746)."""
    high, low = (89.0, -105.0) if v.bits == 32 else (710.0, -746.0)
    if not _scales(v):
        # So low that both factors of `_scale` are zeros. Where products underflow instead, Zen 5
        # takes a third longer for attention that masks half of its keys by -10000.
        low = -176.0 if v.bits == 32 else -1418.0
    x = v.most(v.c(low), v.least(v.c(high), x))
    n, r = _reduce(v, x)
    return _scale(v, _exp_core(v, r), n)


def exp_bounded(v: Lanes, x: str) -> str:
    """e^x for x already within -87..88 (-708..709): no clamps, one step of scaling."""
    n, r = _reduce(v, x)
    return _scale(v, _exp_core(v, r), n, bounded=True)


def expm1(v: Lanes, x: str) -> str:
    """e^x - 1, precise near zero."""
    high, low = (89.0, -30.0) if v.bits == 32 else (710.0, -60.0)
    x = v.most(v.c(low), v.least(v.c(high), x))
    n, r = _reduce(v, x)
    q = v.fma(v.mul(r, r), v.polynomial(r, _EXP[v.bits]), r)
    # 2^n (1 + q) - 1 = (2^n q + (2^n - 1)); halves of 2^n keep n = 128 (1024) finite
    half = _scale(v, v.c(0.5), n)
    result = v.fma(half, q, v.sub(half, v.c(0.5)))
    return v.add(result, result)


def _reduce(v: Lanes, x: str) -> tuple[str, str]:
    """n and r with x = n ln 2 + r, |r| <= ln(2) / 2, and n whole."""
    high, low = _LN2_PARTS[v.bits]
    scaled = v.mul(x, v.c(1.0 / _LN2))
    if v.target.isa == "portable":
        # Small enough for the shorter way to round: add and take away 1.5 * 2^23 (2^52).
        magic = v.c(1.5 * 2.0**23 if v.bits == 32 else 1.5 * 2.0**52)
        n = v.sub(v.add(scaled, magic), magic)
    else:
        n = v.round(scaled)
    return n, v.fma(n, v.c(-low), v.fma(n, v.c(-high), x))


def _exp_core(v: Lanes, r: str) -> str:
    return v.fma(v.mul(r, r), v.polynomial(r, _EXP[v.bits]), v.add(r, v.c(1.0)))


def _scales(v: Lanes) -> bool:
    """Whether x * 2^n is one instruction."""
    return v.target.isa == "avx512" and v.bits * count(v.kind) == 512


def _scale(v: Lanes, x: str, n: str, bounded: bool = False) -> str:
    """x * 2^n for a whole n, rounded once; bounded: n and the result are normal exponents.

    Otherwise n is at least -254 (-2046).
    """
    if _scales(v):
        name = f"llvm.x86.avx512.mask.scalef.{'ps' if v.bits == 32 else 'pd'}.512"
        mask = f"i{count(v.kind)}"
        pairs = [(v.kind, x), (v.kind, n), (v.kind, x), (mask, "-1"), ("i32", "4")]
        return v.b.call(v.kind, name, *pairs)
    i = v.to(f"i{v.bits}")
    shift, bias = (23, 127) if v.bits == 32 else (52, 1023)
    # Adding 1.5 * 2^23 (2^52) leaves the whole number in the low bits; vectors of doubles have no
    # cheaper conversion before AVX-512.
    magic = v.c(1.5 * 2.0**shift)
    whole = i.sub(v.bits_of(v.add(n, magic)), v.bits_of(magic))
    if bounded:
        return v.of_bits(i.add(v.bits_of(x), i.let("shl", whole, i.c(shift))))
    first = i.let("ashr", whole, i.c(1))
    second = i.sub(whole, first)
    for part in (first, second):
        factor = v.of_bits(i.let("shl", i.add(part, i.c(bias)), i.c(shift)))
        x = v.mul(x, factor)
    return x


def log(v: Lanes, x: str) -> str:
    """Natural logarithm: -inf at 0, NaN below. source: the method of fdlibm's e_log.c"""
    i = v.to(f"i{v.bits}")
    shift = 23 if v.bits == 32 else 52
    tiny, lift = (2.0**-126, 23) if v.bits == 32 else (2.0**-1022, 54)
    denormal = v.compare("lt", x, v.c(tiny))
    bits = v.bits_of(v.select(denormal, v.mul(x, v.c(2.0**lift)), x))
    # The mantissa into sqrt(1/2)..sqrt(2): offset the exponent field by sqrt(1/2)'s bits.
    offset = 0x3F3504F3 if v.bits == 32 else 0x3FE6A09E667F3BCD
    exponent = i.let("ashr", i.sub(bits, i.c(offset)), i.c(shift))
    mantissa = v.of_bits(i.sub(bits, i.let("shl", exponent, i.c(shift))))
    lifted = v.select(denormal, v.c(-float(lift)), v.c(0.0))
    k = v.add(i.convert("sitofp", exponent, v.element), lifted)
    f = v.sub(mantissa, v.c(1.0))
    s = v.div(f, v.add(f, v.c(2.0)))
    z = v.mul(s, s)
    r = v.mul(z, v.polynomial(z, _LOG[v.bits]))
    half = v.mul(v.mul(f, f), v.c(0.5))
    high, low = _LN2_PARTS[v.bits]
    # log(1+f) = f - (f^2/2 - s (f^2/2 + r)), then k ln 2 in two parts
    tail = v.fma(k, v.c(low), v.mul(s, v.add(half, r)))
    result = v.fma(k, v.c(high), v.sub(f, v.sub(half, tail)))
    result = v.select(v.compare("lt", x, v.c(math.inf)), result, x)
    result = v.select(v.compare("eq", x, v.c(0.0)), v.c(-math.inf), result)
    return v.select(v.compare("lt", x, v.c(0.0)), v.c(math.nan), result)


def log1p_unit(v: Lanes, u: str) -> str:
    """log(1 + u) for 0 <= u <= 1."""
    s = v.div(u, v.add(u, v.c(2.0)))
    z = v.mul(s, s)
    return v.fma(v.mul(s, z), v.polynomial(z, _LOG_UNIT[v.bits]), v.add(s, s))


def log1p(v: Lanes, x: str) -> str:
    """log(1 + x), precise near zero."""
    u = v.add(x, v.c(1.0))
    lost = v.div(v.sub(x, v.sub(u, v.c(1.0))), u)
    base = log(v, u)
    finite = v.compare("lt", v.abs(lost), v.c(1.0))
    return v.select(finite, v.add(base, lost), base)


def sigmoid(v: Lanes, x: str) -> str:
    x = v.most(
        v.c(-88.0 if v.bits == 32 else -709.0), v.least(v.c(87.0 if v.bits == 32 else 708.0), x)
    )
    return v.div(v.c(1.0), v.add(exp_bounded(v, v.neg(x)), v.c(1.0)))


def swish(v: Lanes, x: str, gate: str) -> str:
    """x * sigmoid(gate); goes to 0 where gate goes to -inf, even at x = -inf."""
    low = v.c(-88.0 if v.bits == 32 else -709.0)
    small = v.compare("lt", gate, low)
    high = v.c(87.0 if v.bits == 32 else 708.0)
    e = exp_bounded(v, v.neg(v.most(low, v.least(high, gate))))
    result = v.div(x, v.add(e, v.c(1.0)))
    return v.select(small, v.c(-0.0), result)


def silu(v: Lanes, x: str) -> str:
    """x * sigmoid(x); 0 at -inf."""
    low, high = (-88.0, 87.0) if v.bits == 32 else (-709.0, 708.0)
    x = v.most(v.c(low), x)  # at the bound the result is already below 1e-36
    e = exp_bounded(v, v.neg(v.least(v.c(high), x)))
    return v.div(x, v.add(e, v.c(1.0)))


def tanh(v: Lanes, x: str) -> str:
    """From t = expm1(-2|x|): -t / (t + 2)."""
    t = expm1(v, v.mul(v.abs(x), v.c(-2.0)))
    return v.sign_of(v.div(v.neg(t), v.add(t, v.c(2.0))), x)


def softplus(v: Lanes, x: str) -> str:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    e = exp(v, v.neg(v.abs(x)))
    return v.add(v.most(v.c(0.0), x), log1p_unit(v, e))


def mish(v: Lanes, x: str) -> str:
    """x tanh(softplus(x)) = x m / (m + 2), m = e (e + 2), e = e^x; 0 at -inf."""
    x = v.most(v.c(-87.0), x)  # the result is below 1e-36 there
    e = exp_bounded(v, v.least(v.c(30.0), x))  # past 30 the ratio is 1
    m = v.mul(e, v.add(e, v.c(2.0)))
    return v.mul(x, v.div(m, v.add(m, v.c(2.0))))


def erf(v: Lanes, x: str) -> str:
    t = v.abs(x)
    z = v.mul(x, x)
    near = v.fma(x, v.polynomial(z, _ERF[v.bits]), x)
    if v.bits == 32:
        far = v.least(v.c(4.0), t)  # erf(4) rounds to 1
        tail = exp_bounded(v, v.mul(far, v.polynomial(far, _ERFC_LOG)))
        border = 0.93
    else:
        far = v.least(v.c(6.0), t)  # erf(6) rounds to 1
        u = v.div(v.sub(far, v.c(4.0)), v.add(far, v.c(4.0)))
        tail = v.mul(exp_bounded(v, v.neg(v.mul(far, far))), v.polynomial(u, _ERFC_SCALED))
        border = 1.0
    outer = v.sign_of(v.sub(v.c(1.0), tail), x)
    return v.select(v.compare("lt", t, v.c(border)), near, outer)


def gelu(v: Lanes, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2; 0 at -inf."""
    x = v.most(v.c(-60.0), x)
    half = v.mul(x, v.c(0.5))
    return v.fma(half, erf(v, v.mul(x, v.c(math.sqrt(0.5)))), half)


def gelu_tanh(v: Lanes, x: str) -> str:
    """x (1 + tanh(y)) / 2 = x sigmoid(2 y), y = sqrt(2 / pi) (x + 0.044715 x^3); 0 at -inf."""
    scale = 2.0 * math.sqrt(2.0 / math.pi)
    inner = v.fma(v.mul(x, x), v.c(0.044715 * scale), v.c(scale))
    return swish(v, x, v.mul(x, inner))
