"""Reshaping in place: strides that show the same elements, checked against NumPy's own views."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planck.compiler.place import restride


def view(base: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(base, shape, tuple(s * base.itemsize for s in strides))


def factor(draw: st.DrawFn, count: int) -> tuple[int, ...]:
    """A random shape of `count` elements."""
    shape = []
    while count > 1:
        divisors = [d for d in range(2, count + 1) if count % d == 0]
        shape.append(draw(st.sampled_from(divisors)))
        count //= shape[-1]
        if draw(st.booleans()):
            shape.append(1)
    return tuple(shape) or (1,)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_view_shows_the_same_elements(data: st.DataObject) -> None:
    count = data.draw(st.sampled_from([1, 6, 12, 24, 30, 64]))
    old, new = factor(data.draw, count), factor(data.draw, count)
    base = np.arange(4000)
    strides = []
    stride = 1
    for n in reversed(old):
        strides.insert(0, stride)
        stride *= n + data.draw(st.integers(0, 1))  # sometimes a part of something wider
    found = restride(old, tuple(strides), new)
    source = view(base, old, tuple(strides))
    if found:
        assert np.array_equal(view(base, new, found).reshape(-1), source.reshape(-1))
    else:
        assert not np.shares_memory(source, source.reshape(new)), "NumPy knows a view"


def test_rows_of_something_wider_do_not_merge() -> None:
    assert "adjacent" in str(restride((4, 6), (10, 1), (24,)))
    assert restride((4, 6), (10, 1), (4, 2, 3)) == (10, 3, 1)
