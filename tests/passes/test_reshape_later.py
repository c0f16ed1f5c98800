"""Sums and functions come before a reshape where the kernel that makes their operand takes them."""

import pytest

from planck.passes.reshape_later import RULES

HEAD = (
    'graph "r"(%x: f32[2,12,8], %y: f32[2,3,4,8], %i: f32[2,8,3,4]) {{ weight %w: f32[8,8] = ? '
    "weight %f: f32[8,8,1,1] = ? {} return %z }}"
)
PRODUCT = "%m: f32[2,12,8] = MatMul(%x, %w)"
SHAPE = "shape=(2, 3, 4, 8)"
CONV = (
    "%c: f32[2,8,3,4] = Conv(%i, %f, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1)"
)


def program(*rows):
    return HEAD.format(" ".join(rows))


@pytest.mark.parametrize("order", ["%r, %y", "%y, %r"])
def test_a_residual_of_a_product(check, order):
    check(
        RULES,
        program(
            PRODUCT,
            f"%r: f32[2,3,4,8] = Reshape(%m, {SHAPE})",
            f'%z: f32[2,3,4,8] = Pointwise({order}, fn="add")',
        ),
        program(
            PRODUCT,
            "%s: f32[2,12,8] = Reshape(%y, shape=(2, 12, 8))",
            '%a: f32[2,12,8] = Pointwise(%m, %s, fn="add")',
            f"%z: f32[2,3,4,8] = Reshape(%a, {SHAPE})",
        ),
    )


def test_a_function_of_a_convolution(check):
    check(
        RULES,
        program(
            CONV,
            "%r: f32[2,8,12] = Reshape(%c, shape=(2, 8, 12))",
            '%z: f32[2,8,12] = Pointwise(%r, fn="gelu")',
        ),
        program(
            CONV,
            '%g: f32[2,8,3,4] = Pointwise(%c, fn="gelu")',
            "%z: f32[2,8,12] = Reshape(%g, shape=(2, 8, 12))",
        ),
    )


@pytest.mark.parametrize(
    "rows",
    [
        (f"%r: f32[2,3,4,8] = Reshape(%x, {SHAPE})",
         '%z: f32[2,3,4,8] = Pointwise(%r, %y, fn="add")'),
        (PRODUCT, f"%r: f32[2,3,4,8] = Reshape(%m, {SHAPE})",
         '%a: f32[2,3,4,8] = Pointwise(%r, %y, fn="add")',
         '%z: f32[2,3,4,8] = Pointwise(%a, %r, fn="mul")'),
        (PRODUCT, f"%r: f32[2,3,4,8] = Reshape(%m, {SHAPE})",
         "%n: f32[2,3,4,8] = MatMul(%y, %w)",
         '%z: f32[2,3,4,8] = Pointwise(%r, %n, fn="add")'),
    ],
    ids=["of an input", "of a value that is read twice", "of two products"],
)  # fmt: skip
def test_stays(check, rows):
    check(RULES, program(*rows))
