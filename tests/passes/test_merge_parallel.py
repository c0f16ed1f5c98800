"""Branches that read one input become one, where that pays."""

import pytest

from planck.passes.merge_parallel import RULES


def conv(name, w, *more, out=16, taps=1):
    operands = ", ".join(f"%{v}" for v in ("x", w, *more))
    return (
        f"%{name}: f32[1,{out},4,5] = Conv({operands}, strides=(1, 1), "
        f"pads=({taps // 2}, {taps // 2}, {taps // 2}, {taps // 2}), dilations=(1, 1), groups=1)"
    )


def pointwise(name, fn, *args, out=16):
    return f'%{name}: f32[1,{out},4,5] = Pointwise({", ".join(f"%{a}" for a in args)}, fn="{fn}")'


def part(name, x, start, size):
    return (
        f"%{name}: f32[1,{size},4,5] = Slice(%{x}, starts=(0, {start}, 0, 0), "
        f"sizes=(1, {size}, 4, 5), steps=(1, 1, 1, 1))"
    )


def program(*rows, end="%y, %z"):
    return f'graph "m"(%x: f32[1,3,4,5]) {{ {" ".join(rows)} return {end} }}'


V, W = "weight %v: f32[16,3,1,1] = ?", "weight %w: f32[32,3,1,1] = ?"
POOLS = (
    '%y: f32[1,16,1,1] = Reduce(%c, kind="mean", axes=(2, 3))',
    '%z: f32[1,32,1,1] = Reduce(%d, kind="max", axes=(2, 3))',
)


def test_convolutions(check):
    check(
        RULES,
        program(
            V,
            W,
            "weight %b: f32[32] = ?",
            conv("a", "v"),
            pointwise("c", "silu", "a"),
            conv("e", "w", "b", out=32),
            pointwise("d", "silu", "e", out=32),
            *POOLS,
        ),
        program(
            "weight %w: f32[48,3,1,1] = ? weight %b: f32[48] = ?",
            conv("a", "w", "b", out=48),
            pointwise("s", "silu", "a", out=48),
            part("c", "s", 0, 16),
            part("d", "s", 16, 32),
            *POOLS,
        ),
    )


def test_matrix_products(check):
    def program(*rows):
        return f'graph "m"(%x: f32[2,3,5]) {{ {" ".join(rows)} return %y }}'

    def add(name, a, b, n):
        return f'%{name}: f32[2,3,{n}] = Pointwise(%{a}, %{b}, fn="add")'

    def piece(name, start):
        return (
            f"%{name}: f32[2,3,16] = Slice(%s, starts=(0, 0, {start}), sizes=(2, 3, 16), "
            "steps=(1, 1, 1))"
        )

    def inputs(n):
        return f"weight %p{n}: f32[5,{n}] = ? weight %b{n}: f32[{n}] = ?"

    end = "%y: f32[2,3,3] = MatMul(%q, %k, transpose_b=True)"
    check(
        RULES,
        program(
            "weight %p: f32[5,16] = ? weight %b: f32[16] = ? weight %r: f32[5,16] = ?",
            "weight %c: f32[16] = ?",
            "%a: f32[2,3,16] = MatMul(%x, %p)",
            add("q", "a", "b", 16),
            "%d: f32[2,3,16] = MatMul(%x, %r)",
            add("k", "d", "c", 16),
            end,
        ),
        program(
            "weight %p: f32[5,32] = ? weight %b: f32[32] = ?",
            "%a: f32[2,3,32] = MatMul(%x, %p)",
            add("s", "a", "b", 32),
            piece("q", 0),
            piece("k", 16),
            end,
        ),
    )


@pytest.mark.parametrize(
    ("rows", "end"),
    [
        # other kernels
        (
            (
                V,
                "weight %w: f32[16,3,3,3] = ?",
                conv("c", "v"),
                conv("d", "w", taps=3),
                *(row.replace("1,32,", "1,16,") for row in POOLS),
            ),
            "%y, %z",
        ),
        # straight into a concatenation, from filters whose kernels write no parts
        (
            (
                "weight %v: f32[16,3,3,3] = ? weight %w: f32[32,3,3,3] = ?",
                conv("c", "v", taps=3),
                conv("d", "w", out=32, taps=3),
                "%y: f32[1,48,4,5] = Concat(%c, %d, axis=1)",
            ),
            "%y",
        ),
        # a residual sum
        (
            (
                V,
                "weight %w: f32[16,3,1,1] = ?",
                conv("c", "v"),
                conv("d", "w"),
                pointwise("y", "add", "c", "d"),
            ),
            "%y",
        ),
        ((V, W, conv("y", "v"), conv("z", "w", out=32)), "%y, %z"),
    ],
)
def test_stays(check, rows, end):
    check(RULES, program(*rows, end=end))


def test_parts_that_go_into_concatenations_and_sums(check):
    rest = (
        pointwise("f", "exp", "c"),
        pointwise("t", "add", "c", "f"),
        "%y: f32[1,48,4,5] = Concat(%t, %d, axis=1)",
    )
    check(
        RULES,
        program(V, W, conv("c", "v"), conv("d", "w", out=32), *rest, end="%y"),
        program(
            "weight %w: f32[48,3,1,1] = ?",
            conv("s", "w", out=48),
            part("c", "s", 0, 16),
            part("d", "s", 16, 32),
            *rest,
            end="%y",
        ),
    )
