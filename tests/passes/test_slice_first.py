"""Slices come before functions of what is only moved."""

import pytest

from planck.passes.slice_first import RULES

HEAD = "%t: f32[2,5,7] = Transpose(%x, perm=(0, 2, 1))"


def function(name, x, size, fn="sigmoid"):
    return f'%{name}: f32[2,5,{size}] = Pointwise(%{x}, fn="{fn}")'


def part(name, x, start, size):
    ends = f"starts=(0, 0, {start}), sizes=(2, 5, {size}), steps=(1, 1, 1)"
    return f"%{name}: f32[2,5,{size}] = Slice(%{x}, {ends})"


def program(*rows, end="%y, %z"):
    return f'graph "m"(%x: f32[2,7,5]) {{ {" ".join(rows)} return {end} }}'


@pytest.mark.parametrize("more", [[], ["exp"]])
def test_parts_of_a_function(check, more):
    whole, y, z = ["t"], ["b"], ["c"]
    before, after = [HEAD], [HEAD, part("b", "t", 0, 2), part("c", "t", 2, 5)]
    for k, fn in enumerate(["sigmoid", *more]):
        whole.append(f"s{k}")
        before.append(function(whole[-1], whole[-2], 7, fn))
        last = k == len(more)
        y.append("y" if last else f"p{k}")
        z.append("z" if last else f"q{k}")
    before += [part("y", whole[-1], 0, 2), part("z", whole[-1], 2, 5)]
    functions = ["sigmoid", *more]
    for names, size in ((y, 2), (z, 5)):
        after += [
            function(b, a, size, fn) for a, b, fn in zip(names, names[1:], functions, strict=False)
        ]
    check(RULES, program(*before), program(*after))


UNCHANGED = {
    "slices that overlap": program(
        HEAD, function("s", "t", 7), part("y", "s", 0, 3), part("z", "s", 2, 5)
    ),
    "the whole is read too": program(
        HEAD, function("s", "t", 7), part("y", "s", 0, 3), function("z", "s", 7, "exp")
    ),
    "nothing moved": program(
        '%s: f32[2,7,5] = Pointwise(%x, fn="exp")',
        "%y: f32[2,2,5] = Slice(%s, starts=(0, 0, 0), sizes=(2, 2, 5), steps=(1, 1, 1))",
        end="%y",
    ),
    "an output": program(
        HEAD, function("s", "t", 7), part("y", "s", 0, 3), part("z", "s", 3, 4), end="%s, %y, %z"
    ),
}


@pytest.mark.parametrize("text", UNCHANGED.values(), ids=list(UNCHANGED))
def test_refused(check, text):
    check(RULES, text)
