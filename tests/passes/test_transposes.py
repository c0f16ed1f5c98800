"""Transposes sink, meet, and vanish; reshapes around matrix products too."""

import pytest

from planck.passes.fold_reshape import fold_reshape
from planck.passes.push_transposes import RULES
from planck.passes.remove_noops import reshapes, same_shape


def program(*rows, head="%x: f32[2,5,7,3]"):
    return f'graph "t"({head}) {{ {" ".join(rows)} return %y }}'


IN = "%t: f32[2,3,5,7] = Transpose(%x, perm=(0, 3, 1, 2))"
OUT = "%y: f32[2,5,7,3] = Transpose(%z, perm=(0, 2, 3, 1))"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            (
                "weight %c: f32[3,1,1] = ?",
                IN,
                '%z: f32[2,3,5,7] = Pointwise(%c, %t, fn="mul")',
                OUT,
            ),
            ("weight %c: f32[1,1,1,3] = ?", '%y: f32[2,5,7,3] = Pointwise(%c, %x, fn="mul")'),
        ),
        (
            (
                IN,
                '%e: f32[2,3,5,7] = Pointwise(%t, fn="exp")',
                "%s: f32[2,3,5,7] = Softmax(%e, axis=-3)",
                '%z: f32[2,3,5,1] = Reduce(%s, kind="sum", axes=(-1,))',
                "%y: f32[2,5,1,3] = Transpose(%z, perm=(0, 2, 3, 1))",
            ),
            (
                '%e: f32[2,5,7,3] = Pointwise(%x, fn="exp")',
                "%s: f32[2,5,7,3] = Softmax(%e, axis=3)",
                '%y: f32[2,5,1,3] = Reduce(%s, kind="sum", axes=(2,))',
            ),
        ),
        (
            (IN, '%y: f32[2,3] = Reduce(%t, kind="mean", axes=(2, 3), keep=False)'),
            ('%y: f32[2,3] = Reduce(%x, kind="mean", axes=(1, 2), keep=False)',),
        ),
        (
            (
                IN,
                "%s: f32[2,3,5,7] = Softmax(%t, axis=2)",
                '%y: f32[2,3,1,1] = Reduce(%s, kind="max", axes=(2, 3))',
            ),
            (
                "%s: f32[2,5,7,3] = Softmax(%x, axis=1)",
                '%z: f32[2,1,1,3] = Reduce(%s, kind="max", axes=(1, 2))',
                "%y: f32[2,3,1,1] = Reshape(%z, shape=(2, 3, 1, 1))",
            ),
        ),
        (
            (
                "weight %c: f32[2,1,5,7] = ?",
                IN,
                "%z: f32[2,4,5,7] = Concat(%t, %c, axis=1)",
                "%y: f32[2,5,7,4] = Transpose(%z, perm=(0, 2, 3, 1))",
            ),
            ("weight %c: f32[2,5,7,1] = ?", "%y: f32[2,5,7,4] = Concat(%x, %c, axis=3)"),
        ),
        (
            (
                "weight %c: f32[] = 0",
                IN,
                "%p: f32[2,4,6,7] = Pad(%t, %c, pads=(0, 1, 0, 0, 0, 0, 1, 0))",
                "%z: f32[1,4,3,7] = Slice(%p, starts=(1, 0, 5, 0), sizes=(1, 4, 3, 7), "
                "steps=(1, 1, -2, 1))",
                "%y: f32[1,3,7,4] = Transpose(%z, perm=(0, 2, 3, 1))",
            ),
            (
                "weight %c: f32[] = 0",
                "%p: f32[2,6,7,4] = Pad(%x, %c, pads=(0, 0, 0, 1, 0, 1, 0, 0))",
                "%y: f32[1,3,7,4] = Slice(%p, starts=(1, 5, 0, 0), sizes=(1, 3, 7, 4), "
                "steps=(1, -2, 1, 1))",
            ),
        ),
        (
            (
                "%t: f32[3,7,2,5] = Transpose(%x, perm=(3, 2, 0, 1))",
                "%a: f32[1,7,2,5] = Slice(%t, starts=(0, 0, 0, 0), sizes=(1, 7, 2, 5), "
                "steps=(1, 1, 1, 1))",
                "%b: f32[1,7,2,5] = Slice(%t, starts=(2, 0, 0, 0), sizes=(1, 7, 2, 5), "
                "steps=(1, 1, 1, 1))",
                "%c: f32[7,2,5] = Reshape(%a, shape=(7, 2, 5))",
                "%d: f32[7,2,5] = Reshape(%b, shape=(7, 2, 5))",
                "%e: f32[2,5,7] = Transpose(%c, perm=(1, 2, 0))",
                "%f: f32[2,5,7] = Transpose(%d, perm=(1, 2, 0))",
                '%y: f32[2,5,7] = Pointwise(%e, %f, fn="sub")',
            ),
            (
                "%a: f32[2,5,7,1] = Slice(%x, starts=(0, 0, 0, 0), sizes=(2, 5, 7, 1), "
                "steps=(1, 1, 1, 1))",
                "%c: f32[2,5,7] = Reshape(%a, shape=(2, 5, 7))",
                "%b: f32[2,5,7,1] = Slice(%x, starts=(0, 0, 0, 2), sizes=(2, 5, 7, 1), "
                "steps=(1, 1, 1, 1))",
                "%d: f32[2,5,7] = Reshape(%b, shape=(2, 5, 7))",
                '%y: f32[2,5,7] = Pointwise(%c, %d, fn="sub")',
            ),
        ),
        (
            (
                "%t: f32[2,3,5,7] = Transpose(%x, perm=(0, 3, 1, 2))",
                "%a: f32[2,3,1,5,7] = Reshape(%t, shape=(2, 3, 1, 5, 7))",
                "%y: f32[2,1,5,7,3] = Transpose(%a, perm=(0, 2, 3, 4, 1))",
            ),
            ("%y: f32[2,1,5,7,3] = Reshape(%x, shape=(2, 1, 5, 7, 3))",),
        ),
        (
            (
                IN,
                '%a: f32[2,3,5,7] = Pointwise(%t, fn="exp")',
                '%z: f32[2,3,5,7] = Pointwise(%a, %t, fn="add")',
                OUT,
            ),
            (
                '%a: f32[2,5,7,3] = Pointwise(%x, fn="exp")',
                '%y: f32[2,5,7,3] = Pointwise(%a, %x, fn="add")',
            ),
        ),
        (
            (
                "%a: f32[10,7,3] = Reshape(%x, shape=(10, 7, 3))",
                "%b: f32[7,10,3] = Transpose(%a, perm=(1, 0, 2))",
                "%y: f32[7,2,5,3] = Reshape(%b, shape=(7, 2, 5, 3))",
            ),
            ("%y: f32[7,2,5,3] = Transpose(%x, perm=(2, 0, 1, 3))",),
        ),
        (
            (
                "weight %w: f32[3,4] = ?",
                "%t: f32[5,2,7,3] = Transpose(%x, perm=(1, 0, 2, 3))",
                "%m: f32[5,2,7,4] = MatMul(%t, %w)",
                "%a: f32[5,2,7,2,2] = Reshape(%m, shape=(5, 2, 7, 2, 2))",
                "%b: f32[5,2,28] = Reshape(%a, shape=(5, 2, 28))",
                "%y: f32[2,5,28] = Transpose(%b, perm=(1, 0, 2))",
            ),
            (
                "weight %w: f32[3,4] = ?",
                "%m: f32[2,5,7,4] = MatMul(%x, %w)",
                "%y: f32[2,5,28] = Reshape(%m, shape=(2, 5, 28))",
            ),
        ),
        (
            (
                "%a: f32[2,5,3,7] = Transpose(%x, perm=(0, 1, 3, 2))",
                "%y: f32[2,5,3,3] = MatMul(%a, %x)",
            ),
            ("%y: f32[2,5,3,3] = MatMul(%x, %x, transpose_a=True)",),
        ),
    ],
)
def test_sinks(check, before, after):
    check((*RULES, reshapes, same_shape), program(*before), program(*after))


@pytest.mark.parametrize(
    "rows",
    [
        (IN, '%y: f32[2,3,5,7] = Pointwise(%t, %u, fn="add")'),  # the other is not transposed
        (IN, '%y: f32[2,3,5,7] = Pointwise(%t, fn="exp")'),  # nothing to meet below
    ],
)
def test_stays(check, rows):
    check(RULES, program(*rows, head="%x: f32[2,5,7,3], %u: f32[2,3,5,7]"))


def test_reshapes_around_a_matrix_product(check):
    weights = "weight %w: f32[5,6] = ? weight %b: f32[6] = ?"
    head = "%x: f32[2,3,5]"
    check(
        fold_reshape,
        program(
            weights,
            "%a: f32[6,5] = Reshape(%x, shape=(6, 5))",
            "%c: f32[6,6] = MatMul(%a, %w)",
            '%d: f32[6,6] = Pointwise(%c, %b, fn="add")',
            '%e: f32[6,6] = Pointwise(%d, fn="relu")',
            "%y: f32[2,3,6] = Reshape(%e, shape=(2, 3, 6))",
            head=head,
        ),
        program(
            weights,
            "%c: f32[2,3,6] = MatMul(%x, %w)",
            '%d: f32[2,3,6] = Pointwise(%c, %b, fn="add")',
            '%y: f32[2,3,6] = Pointwise(%d, fn="relu")',
            head=head,
        ),
    )


def test_reshapes_of_heads(check):
    weights = "weight %w: f32[20,6] = ?"
    head = "%x: f32[2,3,4,5]"
    check(
        fold_reshape,
        program(
            weights,
            "%a: f32[6,20] = Reshape(%x, shape=(6, 20))",
            "%c: f32[6,6] = MatMul(%a, %w)",
            "%y: f32[2,3,6] = Reshape(%c, shape=(2, 3, 6))",
            head=head,
        ),
        program(
            weights,
            "%a: f32[2,3,20] = Reshape(%x, shape=(2, 3, 20))",
            "%y: f32[2,3,6] = MatMul(%a, %w)",
            head=head,
        ),
    )


def test_reshape_before_a_matrix_product_alone_stays(check):
    check(
        fold_reshape,
        program(
            "weight %w: f32[5,6] = ?",
            "%a: f32[6,5] = Reshape(%x, shape=(6, 5))",
            "%y: f32[6,6] = MatMul(%a, %w)",
            head="%x: f32[2,3,5]",
        ),
    )
