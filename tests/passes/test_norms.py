"""Softmax and normalisation written out as arithmetic."""

import pytest

from planck.passes.arithmetic import RULES as ARITHMETIC
from planck.passes.norms import OF_CHANNELS, RULES


def program(*rows, weights=""):
    return f'graph "n"(%x: f32[2,3,8]) {{ {weights} {" ".join(rows)} return %y }}'


def pointwise(step, shape="2,3,8"):
    name, _, fn, *args = step.split()
    return f'%{name}: f32[{shape}] = Pointwise({", ".join(f"%{a}" for a in args)}, fn="{fn}")'


def mean(name, x, axes="(-1,)", shape="2,3,1", kind="mean"):
    return f'%{name}: f32[{shape}] = Reduce(%{x}, kind="{kind}", axes={axes})'


NUMBERS = "weight %e: f32[] = 1e-5 weight %two: f32[] = 2 weight %one: f32[] = 1"
AFFINE = "weight %g: f32[8] = ? weight %b: f32[8] = ?"
CENTRE = (mean("m", "x"), pointwise("d = sub x m"))
SQUARES = {
    "pow": pointwise("q = pow d two"),
    "mul": pointwise("q = mul d d"),
}
SPREAD = (mean("v", "q"), pointwise("w = add v e", "2,3,1"))
ENDS = {
    "sqrt": (pointwise("s = sqrt w", "2,3,1"), pointwise("n = div d s")),
    "half": (
        "weight",
        pointwise("s = pow w h", "2,3,1"),
        pointwise("n = div d s"),
    ),
    "reciprocal": (
        pointwise("s = sqrt w", "2,3,1"),
        pointwise("r = reciprocal s", "2,3,1"),
        pointwise("n = mul r d"),
    ),
    "one_over": (
        pointwise("s = sqrt w", "2,3,1"),
        pointwise("r = div one s", "2,3,1"),
        pointwise("n = mul d r"),
    ),
    "rsqrt": (pointwise("r = rsqrt w", "2,3,1"), pointwise("n = mul d r")),
}


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("end", ENDS)
def test_layer_norm(check, square, end):
    steps = [row for row in ENDS[end] if row != "weight"]
    check(
        (*ARITHMETIC, *RULES),
        program(
            *CENTRE,
            SQUARES[square],
            *SPREAD,
            *steps,
            pointwise("o = mul n g"),
            pointwise("y = add b o"),
            weights=f"{NUMBERS} {AFFINE} weight %h: f32[] = 0.5",
        ),
        program("%y: f32[2,3,8] = LayerNorm(%x, %g, %b, axis=2, epsilon=1e-05)", weights=AFFINE),
    )


def test_layer_norm_over_two_axes_without_affine(check):
    check(
        RULES,
        program(
            mean("m", "x", "(1, 2)", "2,1,1"),
            pointwise("d = sub x m"),
            SQUARES["mul"],
            mean("v", "q", "(-1, -2)", "2,1,1"),
            pointwise("w = add v e", "2,1,1"),
            pointwise("s = sqrt w", "2,1,1"),
            pointwise("y = div d s"),
            weights=NUMBERS,
        ),
        program(
            "%y: f32[2,3,8] = LayerNorm(%x, %g, axis=1, epsilon=1e-05)",
            weights="weight %g: f32[3,8] = ?",
        ),
    )


def test_layer_norm_of_channels(check):
    """As an image's own norm is written: the transposes are views of channels that lie last."""
    body = (
        mean("m", "x", "(1,)", "2,1,8"),
        pointwise("d = sub x m"),
        SQUARES["mul"],
        mean("v", "q", "(1,)", "2,1,8"),
        pointwise("w = add v e", "2,1,8"),
        pointwise("s = sqrt w", "2,1,8"),
        pointwise("n = div d s"),
        pointwise("o = mul g n"),
        pointwise("y = add o b"),
    )
    check(
        OF_CHANNELS,
        program(*body, weights=f"{NUMBERS} weight %g: f32[3,1] = ? weight %b: f32[3,1] = ?"),
        program(
            "%t: f32[2,8,3] = Transpose(%x, perm=(0, 2, 1))",
            "%n: f32[2,8,3] = LayerNorm(%t, %g, %b, axis=2, epsilon=1e-05)",
            "%y: f32[2,3,8] = Transpose(%n, perm=(0, 2, 1))",
            weights="weight %g: f32[3] = ? weight %b: f32[3] = ?",
        ),
    )
    check(
        RULES,
        program(*body, weights=f"{NUMBERS} weight %g: f32[3,1] = ? weight %b: f32[3,1] = ?"),
    )


def test_rms_norm(check):
    check(
        RULES,
        program(
            pointwise("q = mul x x"),
            *SPREAD,
            pointwise("r = rsqrt w", "2,3,1"),
            pointwise("n = mul x r"),
            pointwise("y = mul g n"),
            weights=f"{NUMBERS} {AFFINE}",
        ),
        program("%y: f32[2,3,8] = RMSNorm(%x, %g, axis=2, epsilon=1e-05)", weights=AFFINE),
    )


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("axis", [1, -1])
def test_softmax(check, shifted, axis):
    shape = "2,1,8" if axis == 1 else "2,3,1"
    rows = [pointwise("k = exp d" if shifted else "k = exp x")]
    if shifted:
        rows = [mean("m", "x", f"({axis},)", shape, "max"), pointwise("d = sub x m"), *rows]
    check(
        RULES,
        program(*rows, mean("s", "k", f"({axis},)", shape, "sum"), pointwise("y = div k s")),
        program(f"%y: f32[2,3,8] = Softmax(%x, axis={axis % 3})"),
    )


@pytest.mark.parametrize(
    "rows",
    [
        # the mean over another axis than the spread
        (
            mean("m", "x", "(1,)", "2,1,8"),
            pointwise("d = sub x m"),
            SQUARES["mul"],
            mean("v", "q", "(0,)", "1,3,8"),
            pointwise("w = add v e", "1,3,8"),
            pointwise("s = sqrt w", "1,3,8"),
            pointwise("y = div d s"),
        ),
        # the sum over another axis than the maximum, of other exponentials
        (
            pointwise("k = exp x"),
            pointwise("l = exp k"),
            mean("s", "l", "(1,)", "2,1,8", "sum"),
            pointwise("y = div k s"),
        ),
    ],
)
def test_other_arithmetic_stays(check, rows):
    check(RULES, program(*rows, weights=NUMBERS))
