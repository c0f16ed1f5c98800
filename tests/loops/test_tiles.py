"""Loops are cut into as many tiles as their work is worth."""

from __future__ import annotations

import pytest

from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.ops.pointwise import Pointwise
from planck.tactics.kernel import Kernel, Operand
from planck.tactics.loops import Loops
from planck.target import host


def tiles(numbers: int, threads: int) -> int:
    """Of a kernel that negates so many numbers in rows of 64."""
    x, y = (Value(name, TensorType((numbers // 64, 64), f32)) for name in "xy")
    graph = Graph("kernel", (x,), (Node(Pointwise("neg"), (x,), (y,)),), (y,))
    operands = {v.name: Operand.dense(v.type) for v in (x, y)}
    kernel = Kernel(graph, operands, frozenset(), host(), threads)
    offers = Loops().offers(kernel)
    assert offers, offers
    return Loops().build(kernel, offers[0]).tiles


@pytest.mark.parametrize("threads", [2, 3])
def test_work_of_a_few_microseconds_is_shared(threads: int) -> None:
    assert tiles(640, threads) == 1
    assert tiles(640_000, threads) >= threads
    assert tiles(64_000_000, threads) == 8 * threads


def test_one_thread_has_one_tile() -> None:
    assert tiles(640_000, 1) == 1
