"""Padding goes into what can pad, unless it would mean something else there."""

import pytest

from planck.passes.fold_pad import RULES

PAD = "%p: f32[1,3,8,9] = Pad(%{x}, %c, pads=(0, 0, 1, 2, 0, 0, 2, 0), mode={mode!r})"
POOL = (
    "%y: f32[1,3,6,7] = Pool(%{}, kind={!r}, kernel=(3, 3), strides=(1, 1), pads={}, "
    "dilations=(1, 1){})"
)
OWN, NONE = "(1, 2, 2, 0)", "(0, 0, 0, 0)"


def program(*rows):
    return f'graph "g"(%x: f32[1,3,5,7]) {{ {" ".join(rows)} return %y }}'.replace("'", '"')


def constant(value):
    return f"weight %c: f32[] = {value}"


def test_convolution(check):
    conv = "Conv(%{}, %w, strides=(1, 2), pads={}, dilations=(1, 1), groups=1)"
    w = "weight %w: f32[4,3,3,3] = ?"
    check(
        RULES,
        program(
            w,
            constant(0),
            PAD.format(x="x", mode="constant"),
            f"%y: f32[1,4,8,5] = {conv.format('p', '(1, 1, 1, 1)')}",
        ),
        program(w, f"%y: f32[1,4,8,5] = {conv.format('x', '(2, 3, 3, 1)')}"),
    )


@pytest.mark.parametrize(
    ("value", "kind", "before", "after", "start"),
    [
        (0, "average", "", ", include_pad=True", ""),
        (float("-inf"), "max", "", "", ""),
        (0, "max", "", "", "%r: f32[1,3,5,7] = Pointwise(%x, fn='relu')"),
    ],
)
def test_pool(check, value, kind, before, after, start):
    x = "r" if start else "x"
    check(
        RULES,
        program(
            constant(value),
            start,
            PAD.format(x=x, mode="constant"),
            POOL.format("p", kind, NONE, before),
        ),
        program(start, POOL.format(x, kind, OWN, after)),
    )


@pytest.mark.parametrize(
    ("value", "mode", "kind"),
    [(0, "constant", "max"), (1, "constant", "average"), (0, "edge", "average")],
)
def test_stays(check, value, mode, kind):
    check(
        RULES,
        program(constant(value), PAD.format(x="x", mode=mode), POOL.format("p", kind, NONE, "")),
    )
