"""A gather at one known index becomes a slice."""

import pytest

from planck.passes.gather_to_slice import RULES

HEAD = "%x: f32[2,3,4]"


@pytest.mark.parametrize(
    ("index", "starts", "shape"),
    [("i64[] = 2", "(0, 2, 0)", "2,4"), ("i64[1] = [-1]", "(0, 2, 0)", "2,1,4")],
)
def test_one_known_index(check, index, starts, shape):
    dims = f"({', '.join(shape.split(','))})"
    check(
        RULES,
        f'graph "n"({HEAD}) {{ weight %i: {index} '
        f"%y: f32[{shape}] = Gather(%x, %i, axis=1) return %y }}",
        f'graph "n"({HEAD}) {{ %s: f32[2,1,4] = Slice(%x, starts={starts}, sizes=(2, 1, 4), '
        f"steps=(1, 1, 1)) %y: f32[{shape}] = Reshape(%s, shape={dims}) return %y }}",
    )


def test_several_indices_stay(check):
    text = (
        f'graph "n"({HEAD}) {{ weight %i: i64[2] = [0, 2] '
        "%y: f32[2,2,4] = Gather(%x, %i, axis=1) return %y }"
    )
    check(RULES, text, text)
