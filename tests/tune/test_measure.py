"""Measuring: a candidate's plan, with weights that caches hold or that come from memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planck.codegen import flush
from planck.codegen.llvm import compile_object
from planck.codegen.processes import CompilePool
from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.ops.nn import MatMul
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.kernel import Code, Config, Kernel, Operand, Tactic
from planck.target import host
from planck.tune.cache import TimingCache
from planck.tune.choose import choose
from planck.tune.measure import measure, plan_of
from tests.codegen.native import Native


def product_kernel() -> Kernel:
    a, b, c = (
        Value(name, TensorType(shape, f32))
        for name, shape in (("a", (7, 96)), ("b", (96, 640)), ("c", (7, 640)))
    )
    graph = Graph("kernel", (a, b), (Node(MatMul(), (a, b), (c,)),), (c,))
    strides = {"a": (96, 1), "b": (640, 1), "c": (640, 1)}
    operands = {v.name: Operand(v.type, strides[v.name]) for v in (a, b, c)}
    return Kernel(graph, operands, frozenset({"b"}), host(), 1)


def candidate(kernel: Kernel) -> tuple[Tactic, Config, Code, bytes]:
    for tactic in TACTICS:
        offers = tactic.offers(kernel)
        if not isinstance(offers, No):
            code = tactic.build(kernel, offers[0])
            object_ = compile_object(kernel.target, code.llvm, code.level)
            return tactic, offers[0], code, object_
    raise AssertionError("no tactic")


can_flush = pytest.mark.skipif(
    not flush.can_flush(host()), reason="programs cannot flush a line on this processor"
)


@can_flush
def test_weights_from_memory_cost_time() -> None:
    kernel = product_kernel()
    row = candidate(kernel)
    plan = plan_of(kernel, *row, weights_from_memory=True)
    names = [step.symbol == flush.SYMBOL for step in plan.steps]
    assert names == [True, False] * (len(names) // 2)
    flushed = plan.steps[0]
    assert flushed.tiles * flush.TILE_BYTES >= 96 * 640 * 4
    assert len(plan.weights) >= flushed.tiles * flush.TILE_BYTES
    (us,) = measure(kernel, [row], weights_from_memory=True)
    assert 0 < us < 1e5


@can_flush
def test_large_results_go_to_memory() -> None:
    kernel = product_kernel()
    small = replace(kernel, target=replace(kernel.target, l2_bytes=4096))
    row = candidate(small)
    for own, flushes in ((kernel, 1), (small, 2)):
        plan = plan_of(own, *row, weights_from_memory=True)
        places = [step.arguments[0].space for step in plan.steps if step.symbol == flush.SYMBOL]
        assert places == ["weights", "arena"][:flushes] * (len(places) // flushes)
    (us,) = measure(small, [row], weights_from_memory=True)
    assert 0 < us < 1e5
    cache = TimingCache(None, small.target)
    with CompilePool(small.target, 1) as pool:
        choose([small], TACTICS, pool, cache, level=1, weights_from_memory=True)
    assert list(cache.entries) == [f"{small.key}/1/memory/results"]


@can_flush
def test_flushing_leaves_memory_as_it_is() -> None:
    numbers = np.random.default_rng(0).standard_normal(2 * flush.TILE_BYTES // 8)
    before = numbers.copy()
    Native(host(), flush.source(host())).call(flush.SYMBOL, [numbers], 0, 2)
    np.testing.assert_array_equal(numbers, before)


def test_weights_read_again_lie_once() -> None:
    kernel = product_kernel()
    row = candidate(kernel)
    sizes = [len(plan_of(kernel, *row, again=again).weights) for again in (False, True)]
    assert sizes[0] > 2 * sizes[1]
    cache = TimingCache(None, kernel.target)
    with CompilePool(kernel.target, 1) as pool:
        choose(
            [kernel], TACTICS, pool, cache, level=1, weights_from_memory=True, again={kernel.key}
        )
    assert list(cache.entries) == [f"{kernel.key}/1/again"]


def test_a_cache_keeps_both_kinds_of_time_apart() -> None:
    kernel = product_kernel()
    cache = TimingCache(None, kernel.target)
    with CompilePool(kernel.target, 1) as pool:
        for from_memory in (False, True):
            choose([kernel], TACTICS, pool, cache, level=1, weights_from_memory=from_memory)
    assert sorted(cache.entries) == [f"{kernel.key}/1", f"{kernel.key}/1/memory"]


def test_a_tactic_that_the_cache_has_not_met_is_timed() -> None:
    """A cache outlives the version that wrote it: new ways to run a kernel get their turn."""
    kernel = product_kernel()
    older = tuple(tactic for tactic in TACTICS if tactic.name == "loops")
    cache = TimingCache(None, kernel.target)
    with CompilePool(kernel.target, 1) as pool:
        for tactics, name in ((older, "loops"), (TACTICS, "matmul")):
            choose([kernel], tactics, pool, cache, level=1)
            (rows,) = cache.entries.values()
            assert {row.tactic for row in rows if not row.refused} == {name}
        before = dict(cache.entries)
        choose([kernel], TACTICS, pool, cache, level=1)
    assert cache.entries == before
