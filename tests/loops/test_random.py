"""Random graphs of pointwise, reducing and moving operators, as one kernel against the interpreter.

Tolerance: float32 results of unit size after some ten roundings and sums of up to 2000 elements.
"""

from __future__ import annotations

import numpy as np
import pytest

from planck.ir.graph import Graph, Value
from planck.ir.interpret import interpret
from planck.ops.movement import Broadcast, Concat, Pad, Reshape, Slice, Tile, Transpose
from planck.ops.pointwise import Pointwise
from planck.ops.reduce import Reduce
from planck.refusal import No
from planck.tactics.loops import Loops
from planck.target import Target
from tests.loops.running import TARGETS, Maker, kernel, reblock, run

UNARY = ("relu", "tanh", "sigmoid", "silu", "abs", "neg", "erf", "hard_swish", "cos", "floor")
BINARY = ("add", "sub", "mul", "max", "min")
EXTENTS = (1, 2, 3, 4, 5, 7, 8, 16, 17, 33)


class Random:
    """Draws graphs."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rank = int(self.rng.integers(1, 5))
        shape = tuple(int(n) for n in self.rng.choice(EXTENTS, rank))
        thin = tuple(n if self.rng.random() < 0.5 else 1 for n in shape)
        self.maker = Maker(x=self.draw(shape), y=self.draw(thin), z=self.draw(shape[-1:]))

    def draw(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def pick(self, values: tuple[str, ...]) -> str:
        return str(self.rng.choice(values))

    def graph(self, length: int) -> Graph:
        value = self.maker["x"]
        for _ in range(length):
            value = self.step(value)
        return self.maker.graph(value)

    def step(self, value: Value) -> Value:
        m, rng, shape = self.maker, self.rng, value.type.dims
        kind = rng.integers(0, 10)
        if kind < 3:
            return m(Pointwise(self.pick(UNARY)), value)
        if kind < 6:
            other = m["y"] if rng.random() < 0.5 else m["z"]
            try:
                return m(Pointwise(self.pick(BINARY)), value, other)
            except Exception:
                return m(Pointwise("mul"), value, value)
        if kind == 6 and shape:
            axes = tuple(k for k in range(len(shape)) if rng.random() < 0.5)
            if axes:
                reduced = m(Reduce(self.pick(("mean", "max", "sum_square")), axes), value)
                return m(Pointwise("sub"), value, reduced) if rng.random() < 0.5 else reduced
        return self.move(value)

    def move(self, value: Value) -> Value:
        m, rng, shape = self.maker, self.rng, value.type.dims
        rank = len(shape)
        kind = rng.integers(0, 6)
        if kind == 0 and rank > 1:
            return m(Transpose(tuple(int(k) for k in rng.permutation(rank))), value)
        if kind == 1 and rank > 1:
            k = int(rng.integers(0, rank - 1))
            joined = (*shape[:k], shape[k] * shape[k + 1], *shape[k + 2 :])
            return m(Reshape(joined), value)
        if kind == 2 and rank and np.prod(shape) < 5000:
            return m(Concat(int(rng.integers(0, rank))), value, value)
        if kind == 3 and rank:
            sizes = tuple(int(rng.integers(1, n + 1)) for n in shape)
            starts = tuple(
                int(rng.integers(0, n - s + 1)) for n, s in zip(shape, sizes, strict=True)
            )
            return m(Slice(starts, sizes, (1,) * rank), value)
        if kind == 4 and rank and np.prod(shape) < 5000:
            pads = tuple(int(p) for p in rng.integers(0, 3, 2 * rank))
            return m(Pad(pads, "constant"), value, m.constant(np.float32(0.5)))
        if kind == 5 and rank and rank < 4 and np.prod(shape) < 2000:
            if rng.random() < 0.5:
                return m(Tile(tuple(int(n) for n in rng.integers(1, 3, rank))), value)
            return m(Broadcast((3, *shape)), value)
        return m(Pointwise("add"), value, value)


def check(graph: Graph, arrays: dict[str, np.ndarray], target: Target, **options: object) -> None:
    wide = {name: array.astype(np.float32) for name, array in arrays.items()}
    want = interpret(graph, wide)
    got = run(graph, wide, target, **options)  # type: ignore[arg-type]
    for value, array in zip(graph.outputs, got, strict=True):
        scale = max(1.0, float(np.nanmax(np.abs(want[value.name]), initial=1.0)))
        np.testing.assert_allclose(array, want[value.name], rtol=2e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed: int) -> None:
    target = TARGETS[-1 - seed % len(TARGETS)]
    drawn = Random(seed)
    graph = drawn.graph(2 + seed % 5)
    answer = Loops().offers(kernel(graph, target))
    if isinstance(answer, No):
        assert "would be computed" in answer.reason
        graph = Random(seed).graph(1)
        drawn.maker.arrays = Random(seed).maker.arrays
    threads = 1 + 3 * (seed % 2)
    gaps = {"x": 5, graph.outputs[0].name: 3} if seed % 3 == 0 else None
    check(graph, drawn.maker.arrays, target, threads=threads, gaps=gaps)


@pytest.mark.parametrize("channels", [3, 16, 17, 32])
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_blocked_operands(target: Target, channels: int) -> None:
    rng = np.random.default_rng(channels)
    block = target.lanes

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    m = Maker(x=draw(2, channels, 5, 7), b=draw(channels, 1, 1), w=draw(2, channels, 1, 1))
    biased = m(Pointwise("add"), m["x"], m["b"])
    gated = m(Pointwise("mul"), m(Pointwise("silu"), biased), m["w"])
    graph = m.graph(gated)
    for blocks in ("x", "o", "xo", "xw", "xwo"):
        names = {"x": "x", "w": "w", "o": gated.name}
        laid = reblock(graph, {names[c]: block for c in blocks})
        check(laid, m.arrays, target, threads=2)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_pooling_of_blocked_maps(target: Target) -> None:
    rng = np.random.default_rng(1)
    m = Maker(x=rng.standard_normal((7, 17, 5, 3)).astype(np.float32))
    mean = m(Reduce("mean", (2, 3)), m["x"])
    graph = m.graph(mean)
    for blocks in ({}, {"x": target.lanes}, {"x": target.lanes, mean.name: target.lanes}):
        check(reblock(graph, blocks), m.arrays, target)
