"""Large max pools begin where smaller ones of the same image end."""

import pytest

from planck.passes.chain_pools import RULES

MAP = "f32[2,3,7,9]"


def pool(name, x, *kernel, kind="max", pads=None, strides="1, 1", shape=MAP):
    kernel = kernel * 2 if len(kernel) == 1 else kernel
    pads = pads or ", ".join(str(n // 2) for n in kernel * 2)
    size = ", ".join(map(str, kernel))
    return (
        f'%{name}: {shape} = Pool(%{x}, kind="{kind}", kernel=({size}), strides=({strides}), '
        f"pads=({pads}), dilations=(1, 1))"
    )


def program(*rows, end="%a, %b"):
    return f'graph "m"(%x: {MAP}) {{ {" ".join(rows)} return {end} }}'


def test_spatial_pyramid(check):
    end = "%a, %b, %c"
    check(
        RULES,
        program(pool("c", "x", 13), pool("a", "x", 5), pool("b", "x", 9), end=end),
        program(pool("a", "x", 5), pool("b", "a", 5), pool("c", "b", 5), end=end),
    )


def test_oblong(check):
    check(
        RULES,
        program(pool("a", "x", 3, 5), pool("b", "x", 3, 9)),
        program(pool("a", "x", 3, 5), pool("b", "a", 1, 5)),
    )


UNCHANGED = {
    "a window that does not hold the other": (pool("a", "x", 3, 9), pool("b", "x", 5, 5)),
    "means": (pool("a", "x", 3, kind="average"), pool("b", "x", 5, kind="average")),
    "strides": (
        pool("a", "x", 3),
        pool("b", "x", 5, strides="2, 2", shape="f32[2,3,4,5]"),
    ),
    "to one side": (
        pool("a", "x", 3),
        pool("b", "x", 5, pads="1, 1, 3, 3"),
    ),
    "another image": (pool("a", "x", 3), pool("b", "a", 5)),
}


@pytest.mark.parametrize("rows", UNCHANGED.values(), ids=list(UNCHANGED))
def test_refused(check, rows):
    check(RULES, program(*rows))
