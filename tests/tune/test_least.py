"""Elimination finds what trying all combinations finds."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planck.refusal import No
from planck.tune.least import Table, cheapest


def total(chosen: tuple[int, ...], tables: list[Table]) -> float:
    return float(sum(costs[tuple(chosen[v] for v in scope)] for scope, costs in tables))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], list[Table]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tables: list[Table] = []
    for _ in range(draw(st.integers(0, 8))):
        scope = tuple(draw(st.permutations(range(len(sizes)))))[: draw(st.integers(1, 4))]
        costs = random.integers(0, 20, [sizes[v] for v in scope]).astype(float)
        costs[random.random(costs.shape) < 0.2] = np.inf
        tables.append((scope, costs))
    return sizes, tables


@given(problems())
def test_against_all_combinations(problem: tuple[list[int], list[Table]]) -> None:
    sizes, tables = problem
    chosen = cheapest(sizes, tables)
    assert not isinstance(chosen, No)
    every = [total(row, tables) for row in itertools.product(*map(range, sizes))]
    assert total(tuple(chosen), tables) == min(every)


def test_a_long_chain_is_no_work() -> None:
    steps = np.array([[0.0, 1.0], [1.0, 0.0]])
    tables: list[Table] = [((i, i + 1), steps) for i in range(400)]
    tables += [((0,), np.array([1.0, 0.0])), ((400,), np.array([0.0, 5.0]))]
    chosen = cheapest([2] * 401, tables)
    assert not isinstance(chosen, No)
    assert total(tuple(chosen), tables) == 1.0


def test_what_would_need_too_much_room_is_refused() -> None:
    count = 24
    pairs: list[Table] = [
        (pair, np.zeros((2, 2))) for pair in itertools.combinations(range(count), 2)
    ]
    assert isinstance(cheapest([2] * count, pairs), No)
