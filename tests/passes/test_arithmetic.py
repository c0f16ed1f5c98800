"""Cheaper forms of powers, divisions, pools and reductions."""

import pytest

from planck.passes.arithmetic import RULES


def program(body):
    return f'graph "a"(%x: f32[2,3,4,5]) {{ {body} return %y }}'


def pointwise(fn, *operands, weights=""):
    inputs = ", ".join(f"%{v}" for v in operands)
    return f'{weights} %y: f32[2,3,4,5] = Pointwise({inputs}, fn="{fn}")'


def number(value):
    return f"weight %c: f32[] = {value}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pointwise("pow", "x", "c", weights=number(2)), pointwise("mul", "x", "x")),
        (pointwise("pow", "x", "c", weights=number(-1)), pointwise("reciprocal", "x")),
        (
            pointwise("add", "c", "x", weights=number(2)),
            pointwise("add", "x", "c", weights=number(2)),
        ),
        (
            pointwise("div", "x", "c", weights=number(8)),
            pointwise("mul", "x", "c", weights=number(0.125)),
        ),
        (
            '%a: f32[2,3,1,5] = Reduce(%x, kind="mean", axes=(2,)) '
            '%y: f32[2,3,1,1] = Reduce(%a, kind="mean", axes=(-1,))',
            '%y: f32[2,3,1,1] = Reduce(%x, kind="mean", axes=(2, 3))',
        ),
        (
            '%a: f32[2,3,5] = Reduce(%x, kind="max", axes=(2,), keep=False) '
            '%y: f32[3,5] = Reduce(%a, kind="max", axes=(0,), keep=False)',
            '%y: f32[3,5] = Reduce(%x, kind="max", axes=(0, 2), keep=False)',
        ),
        (
            "weight %w: f32[1,3,1,1] = ? %s: f32[2,3,4,5] = Softmax(%x, axis=1) "
            "%y: f32[2,1,4,5] = Conv(%s, %w, strides=(1, 1), pads=(0, 0, 0, 0), "
            "dilations=(1, 1), groups=1)",
            "weight %w: f32[3,1,1] = ? %s: f32[2,3,4,5] = Softmax(%x, axis=1) "
            '%p: f32[2,3,4,5] = Pointwise(%s, %w, fn="mul") '
            '%y: f32[2,1,4,5] = Reduce(%p, kind="sum", axes=(1,))',
        ),
        (
            '%y: f32[2,3,1,1] = Pool(%x, kind="average", kernel=(4, 5), strides=(1, 1), '
            "pads=(0, 0, 0, 0), dilations=(1, 1))",
            '%y: f32[2,3,1,1] = Reduce(%x, kind="mean", axes=(2, 3))',
        ),
    ],
)
def test_cheaper(check, before, after):
    check(RULES, program(before), program(after))


@pytest.mark.parametrize(
    "body",
    [
        pointwise("pow", "x", "c", weights=number(3)),
        pointwise("div", "x", "c", weights=number(3)),  # 1 / 3 is not exact
        pointwise("div", "c", "x", weights=number(2)),
        '%a: f32[2,3,1,5] = Reduce(%x, kind="mean", axes=(2,)) '
        '%y: f32[2,3,1,1] = Reduce(%a, kind="max", axes=(3,))',
        '%y: f32[2,3,1,1] = Pool(%x, kind="average", kernel=(3, 5), strides=(2, 1), '
        "pads=(0, 0, 0, 0), dilations=(1, 1))",
    ],
)
def test_stays(check, body):
    check(RULES, program(body))
