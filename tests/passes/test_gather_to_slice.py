"""A gather at known, evenly spaced places becomes a slice."""

import pytest

from planck.passes.gather_to_slice import RULES

SLICE = "%{}: f32[2,{n},4] = Slice(%x, starts=(0, {}, 0), sizes=(2, {n}, 4), steps=(1, {}, 1))"


def program(body):
    return f'graph "g"(%x: f32[2,3,4]) {{ {body} return %y }}'


@pytest.mark.parametrize(
    ("indices", "shape", "after"),
    [
        (
            "i64[] = -1",
            "2,4",
            SLICE.format("s", 2, 1, n=1) + " %y: f32[2,4] = Reshape(%s, shape=(2, 4))",
        ),
        ("i64[1] = [-1]", "2,1,4", SLICE.format("y", 2, 1, n=1)),
        ("i32[2] = [2, 0]", "2,2,4", SLICE.format("y", 2, -2, n=2)),
        ("i64[3] = [0, 1, 1]", "2,3,4", None),  # not evenly spaced
        ("i64[1,2] = [0, 1]", "2,1,2,4", None),
    ],
)
def test_known_places(check, indices, shape, after):
    before = f"weight %i: {indices} %y: f32[{shape}] = Gather(%x, %i, axis=1)"
    check(RULES, program(before), program(after or before))
