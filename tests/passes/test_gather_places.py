"""One gather where a file takes a tensor apart and puts it together again, or shuffles channels."""

import pytest

from planck.passes.gather_places import RULES

HEAD = 'graph "g"(%x: f32[2,6,4]) {{ {} return {} }}'
CUT = "steps=(1, 1, 1)"


def program(*rows, gives="%y"):
    return HEAD.format(" ".join(rows), gives)


def part(name, start, size, source="x"):
    return (
        f"%{name}: f32[2,{size},4] = "
        f"Slice(%{source}, starts=(0, {start}, 0), sizes=(2, {size}, 4), {CUT})"
    )


ROLLED = (part("a", 4, 2), part("b", 0, 4), "%y: f32[2,6,4] = Concat(%a, %b, axis=1)")
GATHERED = "%y: f32[2,6,4] = Gather(%x, %p, axis=1)"


def test_a_roll(check):
    check(RULES, program(*ROLLED), program("weight %p: i64[6] = [4, 5, 0, 1, 2, 3]", GATHERED))


def test_halves_of_which_one_is_negated(check):
    check(
        RULES,
        program(
            part("a", 3, 3),
            part("b", 0, 3),
            '%n: f32[2,3,4] = Pointwise(%a, fn="neg")',
            "%y: f32[2,6,4] = Concat(%n, %b, axis=1)",
        ),
        program(
            "weight %p: i64[6] = [3, 4, 5, 0, 1, 2]",
            "weight %s: f32[6,1] = ?",
            "%g: f32[2,6,4] = Gather(%x, %p, axis=1)",
            '%y: f32[2,6,4] = Pointwise(%g, %s, fn="mul")',
        ),
    )


SHUFFLED = (
    "%r: f32[2,2,3,4] = Reshape(%x, shape=(2, 2, 3, 4))",
    "%t: f32[2,3,2,4] = Transpose(%r, perm=(0, 2, 1, 3))",
    "%y: f32[2,6,4] = Reshape(%t, shape=(2, 6, 4))",
)


def test_a_shuffle_of_channels(check):
    check(RULES, program(*SHUFFLED), program("weight %p: i64[6] = [0, 3, 1, 4, 2, 5]", GATHERED))


def test_a_shuffle_that_is_halved(check):
    halves = (part("u", 0, 3, "y"), part("v", 3, 3, "y"))
    check(
        RULES,
        program(*SHUFFLED, *halves, gives="%u, %v"),
        program(
            "weight %p: i64[3] = [0, 3, 1] weight %q: i64[3] = [4, 2, 5]",
            "%u: f32[2,3,4] = Gather(%x, %p, axis=1)",
            "%v: f32[2,3,4] = Gather(%x, %q, axis=1)",
            gives="%u, %v",
        ),
    )


@pytest.mark.parametrize(
    "rows",
    [
        (part("a", 4, 2), part("b", 0, 3), "%y: f32[2,5,4] = Concat(%a, %b, axis=1)"),
        (part("a", 4, 2), "%y: f32[2,8,4] = Concat(%a, %x, axis=1)"),
        (
            "%r: f32[2,2,3,4] = Reshape(%x, shape=(2, 2, 3, 4))",
            "%t: f32[2,2,4,3] = Transpose(%r, perm=(0, 1, 3, 2))",
            "%y: f32[2,6,4] = Reshape(%t, shape=(2, 6, 4))",
        ),
    ],
    ids=["not all of it", "not only parts", "not channels"],
)
def test_stays(check, rows):
    check(RULES, program(*rows))
