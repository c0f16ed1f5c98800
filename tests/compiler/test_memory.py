"""The memory planner: nothing that is alive together overlaps, and little is wasted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planck.compiler.memory import Buffer, lower_bound, pack
from planck.plan.model import ALIGNMENT, aligned


@st.composite
def buffers(draw: st.DrawFn) -> list[Buffer]:
    count = draw(st.integers(1, 30))
    result = []
    for number in range(count):
        first = draw(st.integers(0, 40))
        last = first + draw(st.integers(0, 10))
        result.append(Buffer(f"b{number}", draw(st.integers(0, 5000)), first, last))
    return result


@settings(max_examples=200, deadline=None)
@given(buffers())
def test_buffers_alive_together_never_overlap(items: list[Buffer]) -> None:
    offsets, top = pack(items)
    for i, a in enumerate(items):
        start, end = offsets[a.name], offsets[a.name] + aligned(a.bytes)
        assert start % ALIGNMENT == 0
        assert end <= top
        for b in items[:i]:
            apart = a.last < b.first or b.last < a.first
            other = offsets[b.name]
            assert apart or end <= other or other + aligned(b.bytes) <= start


@settings(max_examples=100, deadline=None)
@given(buffers())
def test_the_arena_is_never_below_the_bound(items: list[Buffer]) -> None:
    assert pack(items)[1] >= lower_bound(items)


def test_a_chain_needs_two_buffers() -> None:
    chain = [Buffer(f"b{i}", 1000, i, i + 1) for i in range(20)]
    assert pack(chain)[1] == lower_bound(chain) == 2 * aligned(1000)


@pytest.mark.parametrize("held", [0, 5])
def test_a_value_held_long_costs_its_own_bytes(held: int) -> None:
    chain = [Buffer(f"b{i}", 640, i, i + 1) for i in range(12)] + [Buffer("skip", 640, held, 12)]
    assert pack(chain)[1] == lower_bound(chain) == 3 * 640
