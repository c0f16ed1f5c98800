"""Blocks of pixels gathered into channels become a convolution of larger stride."""

import pytest

from planck.passes.space_to_depth import RULES

HEAD = 'graph "f"(%x: f32[1,3,8,12]) { weight %w: f32[5,12,3,3] = ? weight %b: f32[5] = ?'
PLACES = {"p": (0, 0), "q": (1, 0), "r": (0, 1), "s": (1, 1)}


def parts(places):
    return " ".join(
        f"%{name}: f32[1,3,4,6] = Slice(%x, starts=(0, 0, {row}, {column}), sizes=(1, 3, 4, 6), "
        f"steps=(1, 1, 2, 2))"
        for name, (row, column) in places.items()
    )


def program(places, order="pqrs"):
    joined = ", ".join(f"%{name}" for name in order)
    return f"""{HEAD} {parts(places)} %c: f32[1,12,4,6] = Concat({joined}, axis=1)
    %y: f32[1,5,4,3] = Conv(%c, %w, %b, strides=(1, 2), pads=(1, 1, 1, 0), dilations=(1, 1),
    groups=1) return %y }}"""


@pytest.mark.parametrize("order", ["pqrs", "srpq"])
def test_focus(check, order):
    check(
        RULES,
        program(PLACES, order),
        """graph "f"(%x: f32[1,3,8,12]) { weight %w: f32[5,3,6,6] = ? weight %b: f32[5] = ?
        %y: f32[1,5,4,3] = Conv(%x, %w, %b, strides=(2, 4), pads=(2, 2, 2, 0), dilations=(1, 1),
        groups=1) return %y }""",
    )


def test_not_all_pixels(check):
    check(RULES, program({**PLACES, "s": (0, 1)}))
