"""exp, log, tanh, erf and their family as polynomials, for float and double lanes.

Coefficients are Chebyshev fits made with 50 digits unless they say otherwise; float versions are
within 2 or 3 units in the last place, 3.4 without fused multiply-adds, double versions within 1e-14
of the value. Infinities, NaN, overflow and underflow come out as IEEE 754 has them. What a network
rarely asks for on floats goes through double.

Notebook (AMD EPYC of Zen 1, AVX2, one thread, whole calls; in brackets ONNX Runtime)
- Predicted: on Zen 1, where one fused multiply-add of 8 floats starts a cycle, time goes by
  instructions: tanh by a ratio of polynomials (16) in half the time of expm1's way (35). Measured
  with 4 vectors a step (`reductions.chains`): 1M tanh 1,900 -> 1,270 us (1,240), 4.8M erf
  10,700 -> 6,400 (11,000). A bare ratio, 1,110 and 6,140 us, errs 5 units in the last place near 1;
  with 1/8 or 1/4 of x apart 2.7 and 2.4, without fused multiply-adds 3.4 and 3.1. One polynomial
  of x^2 more leaves tanh 2.5.
- GELU by that erf would err 3e-7 near -5 and have no digits there. As a power of two it takes 24
  instructions instead of 45, errs 2.5e-7 at 10 and keeps its digits down to -6:
  11,600 -> 7,300 us (14,900).
- n of e^x rounded by adding 1.5 * 2^23, in the multiplication by 1 / ln 2, is an instruction less,
  and its bits need no more than a shift; denormals by a constant factor take 7 instructions
  instead of 9: exp 1,330 -> 1,160 us (1,600).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
# tanh(x) = x / 8 + x P(x^2) / Q(x^2) for |x| <= 9.02, and erf(x) = x / 4 + ... for |x| <= 3.93: the
# part outside, P and Q. Minimax of the relative error by Lawson's weights on linearised least
# squares, 2.1e-8 and 1.9e-8; then scaled so that rounding to floats errs least, by the largest
# error of float32 arithmetic at 600,000 places.
_TANH: Final = (
    0.125,
    (
        -1.1605193606101238e-07, -2.8359605494188145e-05, 0.0003606764366850257,
        0.10454477369785309, 1.2131242752075195,
    ),
    (
        1.0761416433524573e-06, 0.00045517607941292226, 0.03586835041642189, 0.6476424336433411,
        1.3864277601242065,
    ),
)  # fmt: skip
_ERF_RATIO: Final = (
    0.25,
    (
        -1.435204285371583e-05, -1.2496872841438744e-05, 5.819340003654361e-05,
        0.04661359265446663, 0.1254166066646576, 1.6901100873947144,
    ),
    (
        7.312407251447439e-05, 0.0022420035675168037, 0.028856884688138962, 0.2198455035686493,
        0.9666997790336609, 1.9241236448287964,
    ),
)  # fmt: skip
# log2(2 F(-t)) = t G(t) for 0 <= t <= 6.5, F the normal distribution: minimax of the relative error
# of F below 1, of the error of t F(-t) over its maximum above, 7e-8. It falls further until 10.2.
_NORMAL_LOG2: Final = (
    -2.0835605e-06, 3.0506511e-05, -0.00014478287, -0.00023462027, 0.0071870317, -0.052577842,
    -0.45918322, -1.1511078,
)  # fmt: skip
# 2^r / 2 for |r| <= 1/2
_HALF_EXP2: Final = (
    *(0.5 * c * _LN2 ** (6 - k) for k, c in enumerate((*_EXP[32], 1.0))), 0.5,
)  # fmt: skip
# erf(x) = x + x P(x^2) for |x| <= 1
_ERF: Final = (
    -4.230945824295338e-12, 8.709045129053106e-11, -1.216456005728345e-09,
    1.4792401209404813e-08, -1.6364642158167616e-07, 1.6462045441468418e-06,
    -1.4925647567519332e-05, 0.00012055332902888736, -0.000854832702193483,
    0.0052239776254232985, -0.02686617064512984, 0.1128379167095512, -0.37612638903183754,
    0.1283791670955126,
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
    x = v.most(v.c(low), v.least(v.c(high), x))
    if _scales(v):
        r, moved = _reduce(v, x)
        return _scalef(v, _exp_core(v, r), v.sub(moved, v.c(_magic(v))))
    # Twice or 2^-64 times as much: whatever x, the first factor is a normal number and adds to the
    # exponent, and the second rounds.
    r, moved = _reduce(v, x, -1)
    i, (shift, bias) = v.to(f"i{v.bits}"), _exponent(v)
    sign = i.let("ashr", v.bits_of(x), i.c(v.bits - 1))
    up = i.let("and", sign, i.c(65 << shift))
    first = i.add(v.bits_of(_exp_core(v, r)), i.let("shl", v.bits_of(moved), i.c(shift)))
    second = v.of_bits(i.sub(i.c((bias + 1) << shift), up))
    return v.mul(v.of_bits(i.add(first, up)), second)


def exp_bounded(v: Lanes, x: str) -> str:
    """e^x for x already within -87..88 (-708..709): no clamps, one step of scaling."""
    r, moved = _reduce(v, x)
    if _scales(v):
        return _scalef(v, _exp_core(v, r), v.sub(moved, v.c(_magic(v))))
    i, (shift, _) = v.to(f"i{v.bits}"), _exponent(v)
    whole = i.let("shl", v.bits_of(moved), i.c(shift))
    return v.of_bits(i.add(v.bits_of(_exp_core(v, r)), whole))


def _one_and_exp(v: Lanes, x: str) -> str:
    """1 + e^-x for x already within -88..87 (-709..708)."""
    r, moved = _reduce(v, x, _exponent(v)[1], sign=-1.0)
    return v.fma(_exp_core(v, r), _power(v, moved), v.c(1.0))


def expm1(v: Lanes, x: str) -> str:
    """e^x - 1, precise near zero."""
    high, low = (89.0, -30.0) if v.bits == 32 else (710.0, -60.0)
    x = v.most(v.c(low), v.least(v.c(high), x))
    # 2^n (1 + q) - 1 = (2^n q + (2^n - 1)); halves of 2^n keep n = 128 (1024) finite
    r, moved = _reduce(v, x, _exponent(v)[1] - 1)
    q = v.fma(v.mul(r, r), v.polynomial(r, _EXP[v.bits]), r)
    half = _power(v, moved)
    result = v.fma(half, q, v.sub(half, v.c(0.5)))
    return v.add(result, result)


def _exponent(v: Lanes) -> tuple[int, int]:
    """Where the exponent stands in a number's bits, and what it has for 1.0."""
    return (23, 127) if v.bits == 32 else (52, 1023)


def _magic(v: Lanes) -> float:
    """What leaves a small whole number added to it in the low bits, and no fraction."""
    return 1.5 * 2.0**23 if v.bits == 32 else 1.5 * 2.0**52


def _reduce(v: Lanes, x: str, bias: int = 0, sign: float = 1.0) -> tuple[str, str]:
    """r and n + bias, with sign * x = n ln 2 + r, |r| <= ln(2) / 2, and n whole.

    n comes as the low bits of a float: it is added to `_magic`, and so rounded, by one instruction.
    """
    high, low = _LN2_PARTS[v.bits]
    magic = v.c(_magic(v) + bias)
    moved = v.fma(x, v.c(sign / _LN2), magic)
    n = v.sub(moved, magic)
    if sign > 0.0:
        return v.fma(n, v.c(-low), v.fma(n, v.c(-high), x)), moved
    return v.neg(v.fma(n, v.c(low), v.fma(n, v.c(high), x))), moved


def _power(v: Lanes, moved: str) -> str:
    """2^n from what `_reduce` gives of n and a float's bias."""
    i = v.to(f"i{v.bits}")
    return v.of_bits(i.let("shl", v.bits_of(moved), i.c(_exponent(v)[0])))


def _exp_core(v: Lanes, r: str) -> str:
    return v.polynomial(r, (*_EXP[v.bits], 1.0, 1.0))


def _scales(v: Lanes) -> bool:
    """Whether x * 2^n is one instruction."""
    return v.target.isa == "avx512" and v.bits * count(v.kind) == 512


def _scalef(v: Lanes, x: str, n: str) -> str:
    """x * 2^n for a whole n, rounded once."""
    name = f"llvm.x86.avx512.mask.scalef.{'ps' if v.bits == 32 else 'pd'}.512"
    mask = f"i{count(v.kind)}"
    pairs = [(v.kind, x), (v.kind, n), (v.kind, x), (mask, "-1"), ("i32", "4")]
    return v.b.call(v.kind, name, *pairs)


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
    low, high = (-88.0, 87.0) if v.bits == 32 else (-709.0, 708.0)
    x = v.most(v.c(low), v.least(v.c(high), x))
    return v.div(v.c(1.0), _one_and_exp(v, x))


def swish(v: Lanes, x: str, gate: str) -> str:
    """x * sigmoid(gate); goes to 0 where gate goes to -inf, even at x = -inf."""
    low, high = (-88.0, 87.0) if v.bits == 32 else (-709.0, 708.0)
    small = v.compare("lt", gate, v.c(low))
    result = v.div(x, _one_and_exp(v, v.most(v.c(low), v.least(v.c(high), gate))))
    return v.select(small, v.c(-0.0), result)


def silu(v: Lanes, x: str) -> str:
    """x * sigmoid(x); 0 at -inf."""
    low, high = (-88.0, 87.0) if v.bits == 32 else (-709.0, 708.0)
    x = v.most(v.c(low), x)  # at the bound the result is already below 1e-36
    return v.div(x, _one_and_exp(v, v.least(v.c(high), x)))


def tanh(v: Lanes, x: str) -> str:
    """Floats: a ratio of polynomials. Doubles, of t = expm1(-2|x|): -t / (t + 2)."""
    if v.bits == 32:
        return _saturating(v, x, 9.02, *_TANH)
    t = expm1(v, v.mul(v.abs(x), v.c(-2.0)))
    return v.sign_of(v.div(v.neg(t), v.add(t, v.c(2.0))), x)


def _saturating(
    v: Lanes, x: str, bound: float, part: float, over: Sequence[float], under: Sequence[float]
) -> str:
    """part x + x P(x^2) / Q(x^2), an odd function that is 1 from the bound on and never more.

    The part is exact, and most of the result where the ratio's errors weigh most, near 1: they
    have to be within half of what a bare ratio errs (5 units in the last place).
    """
    t = v.least(v.c(bound), v.abs(x))
    z = v.mul(t, t)
    ratio = v.div(v.polynomial(z, over), v.polynomial(z, under))
    result = v.least(v.c(1.0), v.fma(t, ratio, v.mul(t, v.c(part))))
    i = v.to("i32")
    return v.of_bits(i.let("or", v.bits_of(result), i.let("and", v.bits_of(x), i.c(-(1 << 31)))))


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
    """Floats: a ratio of polynomials. Doubles: one polynomial, 1 - erfc past 1."""
    if v.bits == 32:
        return _saturating(v, x, 3.93, *_ERF_RATIO)
    t = v.abs(x)
    z = v.mul(x, x)
    near = v.fma(x, v.polynomial(z, _ERF), x)
    far = v.least(v.c(6.0), t)  # erf(6) rounds to 1
    u = v.div(v.sub(far, v.c(4.0)), v.add(far, v.c(4.0)))
    tail = v.mul(exp_bounded(v, v.neg(v.mul(far, far))), v.polynomial(u, _ERFC_SCALED))
    outer = v.sign_of(v.sub(v.c(1.0), tail), x)
    return v.select(v.compare("lt", t, v.c(1.0)), near, outer)


def gelu(v: Lanes, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2 = max(x, 0) - |x| F(-|x|), F the normal distribution; 0 at -inf.

    Floats: 2 F(-t) = 2^(t G(t)), which keeps the digits of what is small.
    """
    if v.bits == 64:
        x = v.most(v.c(-60.0), x)
        half = v.mul(x, v.c(0.5))
        return v.fma(half, erf(v, v.mul(x, v.c(math.sqrt(0.5)))), half)
    t = v.least(v.c(10.2), v.abs(x))  # 1e-35 is left there
    y = v.mul(t, v.polynomial(t, _NORMAL_LOG2))
    magic = v.c(_magic(v) + 127)
    moved = v.add(y, magic)
    r = v.sub(y, v.sub(moved, magic))
    share = v.mul(v.polynomial(r, _HALF_EXP2), _power(v, moved))
    return v.fma(v.neg(t), share, v.most(v.c(0.0), x))


def gelu_tanh(v: Lanes, x: str) -> str:
    """x (1 + tanh(y)) / 2 = x sigmoid(2 y), y = sqrt(2 / pi) (x + 0.044715 x^3); 0 at -inf."""
    scale = 2.0 * math.sqrt(2.0 / math.pi)
    inner = v.fma(v.mul(x, x), v.c(0.044715 * scale), v.c(scale))
    return swish(v, x, v.mul(x, inner))
