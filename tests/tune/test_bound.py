"""Candidates that the machine's limits rule out are neither compiled nor timed."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planck.benchmark.limits import MEMORY, Level, Limits
from planck.codegen.processes import CompilePool
from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.ops.nn import Conv
from planck.tactics import TACTICS
from planck.tactics.kernel import Kernel, Operand
from planck.target import host
from planck.tune.bound import exact_bound_us
from planck.tune.cache import TimingCache
from planck.tune.choose import Choice, choose


def limits(gflops: float) -> Limits:
    return Limits(1, gflops, (Level(MEMORY, 0, 1.0),))


def convolution(
    image: tuple[int, int] = (9, 9),
    taps: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    channels: int = 48,
) -> Kernel:
    lanes = host().lanes
    op = Conv(strides, pads, dilations, 1)
    x = Value("x", TensorType((1, channels, *image), f32, lanes))
    w = Value("w", TensorType((32, channels, *taps), f32))
    y = Value("y", op.infer(x.type.with_block(0), w.type)[0].with_block(lanes))
    graph = Graph("kernel", (x, w), (Node(op, (x, w), (y,)),), (y,))
    operands = {v.name: Operand.dense(v.type) for v in (x, w, y)}
    return Kernel(graph, operands, frozenset({"w"}), host(), 1)


@given(
    st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(1, 2)] * 2),
    st.tuples(*[st.integers(0, 3)] * 4),
)  # fmt: skip
def test_products_are_counted_where_the_image_is(
    image: tuple[int, int],
    taps: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> None:
    span = [d * (t - 1) + 1 for d, t in zip(dilations, taps, strict=True)]
    if any(n + pads[i] + pads[2 + i] < span[i] for i, n in enumerate(image)):
        return
    kernel = convolution(image, taps, strides, dilations, pads, channels=3)
    out = kernel.graph.outputs[0].type.dims
    pairs = 0
    for i, j, k, tap in itertools.product(*map(range, (*out[2:], *taps))):
        row = i * strides[0] + k * dilations[0] - pads[0]
        column = j * strides[1] + tap * dilations[1] - pads[1]
        pairs += 0 <= row < image[0] and 0 <= column < image[1]
    assert exact_bound_us(kernel, limits(1e-3), False) == pytest.approx(2 * 32 * 3 * pairs)


def test_weights_from_memory_take_their_time() -> None:
    weights = 32 * 48 * 9 * 4
    assert exact_bound_us(convolution(), limits(1e9), True) == pytest.approx(weights / 1e3)


def test_limits_of_other_threads_say_nothing() -> None:
    assert exact_bound_us(replace(convolution(), threads=2), limits(1.0), True) == 0


@pytest.mark.parametrize(("gflops", "pruned"), [(1e-3, True), (1e9, False)])
def test_the_hopeless_are_left_out(gflops: float, pruned: bool, tmp_path: Path) -> None:
    """On a machine said to be slow, what multiplies all of the definition's products has no chance.

    But the best guess of each tactic is timed, and the same is left out by a build from the cache.
    """
    kernel = convolution()
    cache = TimingCache.open(tmp_path / "timings", kernel.target)
    cache.limits["1"] = limits(gflops).to_json()
    with CompilePool(kernel.target, 1) as pool:
        choice = choose([kernel], TACTICS, pool, cache, level=5)[kernel.key]
        assert isinstance(choice, Choice)
        again = TimingCache.open(tmp_path / "timings", kernel.target)
        same = choose([kernel], TACTICS, pool, again, level=5)[kernel.key]
    direct = [row for row in choice.timings if row.tactic == "direct"]
    refused = [row for row in direct if row.refused]
    assert len(direct) > 2
    assert len(refused) == (len(direct) - 1 if pruned else 0)
    assert all("limits" in row.refused for row in refused)
    assert isinstance(same, Choice)
    assert (same.timings, same.object) == (choice.timings, choice.object)
