"""Slices find what concatenations put together."""

import pytest

from planck.passes.part_concats import RULES

INPUTS = "%b: f32[2,4,3,2], %s: f32[2,5,3,2], %d: f32[2,4,1,7], %t: f32[2,5,1,7]"


def joined(name, a, b, shape):
    return f"%{name}: f32[2,9,{shape}] = Concat(%{a}, %{b}, axis=1)"


def flat(name, x, channels, n):
    return f"%{name}: f32[2,{channels},{n}] = Reshape(%{x}, shape=(2, {channels}, {n}))"


def part(name, x, start, size, n=13):
    ends = f"starts=(0, {start}, 0), sizes=(2, {size}, {n}), steps=(1, 1, 1)"
    return f"%{name}: f32[2,{size},{n}] = Slice(%{x}, {ends})"


def program(*rows, end="%y, %z", inputs=INPUTS):
    return f'graph "m"({inputs}) {{ {" ".join(rows)} return {end} }}'


JOINED = (
    joined("p", "b", "s", "3,2"),
    joined("q", "d", "t", "1,7"),
    flat("u", "p", 9, 6),
    flat("v", "q", 9, 7),
    "%c: f32[2,9,13] = Concat(%u, %v, axis=2)",
)


def test_parts_of_several_sizes(check):
    check(
        RULES,
        program(*JOINED, part("y", "c", 0, 4), part("z", "c", 4, 5)),
        program(
            flat("e", "b", 4, 6), flat("f", "d", 4, 7),
            "%y: f32[2,4,13] = Concat(%e, %f, axis=2)",
            flat("g", "s", 5, 6), flat("h", "t", 5, 7),
            "%z: f32[2,5,13] = Concat(%g, %h, axis=2)",
        ),
    )  # fmt: skip


def test_one_of_the_parts(check):
    inputs = "%a: f32[2,3,5], %b: f32[2,4,5], %d: f32[2,2,5]"
    whole = "%c: f32[2,9,5] = Concat(%a, %b, %d, axis=1)"
    side_by_side = part("y", "c", 3, 6, 5)
    exp = '%z: f32[2,3,5] = Pointwise(%{x}, fn="exp")'
    check(
        RULES,
        program(whole, side_by_side, part("s", "c", 0, 3, 5), exp.format(x="s"), inputs=inputs),
        program(whole, side_by_side, exp.format(x="a"), inputs=inputs),
    )


def test_functions_of_convolutions(check):
    def conv(name, x, w, n):
        more = "strides=(1,), pads=(0, 0), dilations=(1,), groups=1"
        return f"%{name}: f32[2,6,{n}] = Conv(%{x}, %{w}, {more})"

    inputs = "%a: f32[2,3,4], %b: f32[2,3,5]"
    head = ("weight %v: f32[6,3,1] = ?", "weight %w: f32[6,3,1] = ?")
    convs = (conv("c", "a", "v", 4), conv("d", "b", "w", 5))

    def turned(name, x, n):
        return f"%{name}: f32[2,2,3,{n}] = Reshape(%{x}, shape=(2, 2, 3, {n}))"

    whole = "f32[2,2,3,9]"
    check(
        RULES,
        program(
            *head, *convs, turned("e", "c", 4), turned("f", "d", 5),
            f"%g: {whole} = Concat(%e, %f, axis=3)",
            f'%y: {whole} = Pointwise(%g, fn="sigmoid")', end="%y", inputs=inputs,
        ),
        program(
            *head, convs[0], '%k: f32[2,6,4] = Pointwise(%c, fn="sigmoid")', turned("e", "k", 4),
            convs[1], '%l: f32[2,6,5] = Pointwise(%d, fn="sigmoid")', turned("f", "l", 5),
            f"%y: {whole} = Concat(%e, %f, axis=3)", end="%y", inputs=inputs,
        ),
    )  # fmt: skip


UNCHANGED = {
    "through a part": program(*JOINED, part("y", "c", 0, 3), part("z", "c", 3, 6)),
    "across two axes": program(
        *JOINED,
        "%y: f32[2,4,6] = Slice(%c, starts=(0, 0, 0), sizes=(2, 4, 6), steps=(1, 1, 1))",
        end="%y",
    ),
    "the whole is read": program(
        *JOINED, part("y", "c", 0, 4), '%z: f32[2,9,13] = Pointwise(%c, fn="exp")'
    ),
    "no convolutions": program(*JOINED, '%y: f32[2,9,13] = Pointwise(%c, fn="exp")', end="%y"),
}


@pytest.mark.parametrize("text", UNCHANGED.values(), ids=list(UNCHANGED))
def test_refused(check, text):
    check(RULES, text)
