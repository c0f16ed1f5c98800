"""Random graphs of many operators: their text reads back, and all passes keep their numbers."""

import numpy as np
import pytest

from planck.dtypes import f32, f64, i64
from planck.ir.graph import Graph, Node, Value
from planck.ir.parse import parse
from planck.ir.text import text
from planck.ir.types import TensorType
from planck.ir.verify import verify
from planck.ops.identity import Identity
from planck.ops.movement import Broadcast, Concat, Gather, Pad, Reshape, Slice, Transpose
from planck.ops.nn import BatchNorm, Conv, MatMul, Pool, Softmax
from planck.ops.pointwise import Cast, Pointwise
from planck.ops.reduce import Reduce
from planck.passes import simplify

UNARY = ("tanh", "relu", "sigmoid", "neg", "abs", "sin")
BINARY = ("add", "mul", "sub", "max", "min")
CONSTANTS = (0.0, 1.0, 0.5, 2.0, 3.0, 6.0)


class Maker:
    """Adds random nodes to a graph; each method takes a value and gives one."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.x = Value("x", TensorType((1, 4, 6, 5), f32))
        self.values, self.nodes, self.weights = [self.x], [], {}

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def weight(self, array):
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(array, np.float32)
        return Value(name, TensorType(self.weights[name].shape, f32))

    def add(self, op, *inputs):
        (kind,) = op.infer(*(v.type for v in inputs))
        value = Value(f"v{len(self.nodes)}", kind)
        self.nodes.append(Node(op, inputs, (value,), (f"f:{len(self.nodes)}",)))
        return value

    def normal(self, *shape):
        return self.weight(self.rng.standard_normal(shape) * 0.5)

    def unary(self, x):
        return self.add(Pointwise(self.pick(UNARY)), x)

    def gate(self, x):
        return self.add(Pointwise("mul"), x, self.add(Pointwise("sigmoid"), x))

    def scalar(self, x):
        c = self.weight(self.pick(CONSTANTS))
        return self.add(Pointwise(self.pick(BINARY)), *self.pick(((x, c), (c, x))))

    def divided(self, x):
        return self.add(Pointwise("div"), x, self.weight(self.pick((2.0, 3.0, 6.0))))

    def channels(self, x):
        if x.type.rank < 2:
            return x
        c = self.normal(x.type.dims[1], *(1,) * (x.type.rank - 2))
        return self.add(Pointwise(self.pick(("add", "mul"))), x, c)

    def last(self, x):
        return self.add(Pointwise(self.pick(("add", "mul"))), x, self.normal(x.type.dims[-1]))

    def binary(self, x):
        alike = [v for v in self.values if v.type == x.type]
        return self.add(Pointwise(self.pick(BINARY)), x, self.pick(alike))

    def transpose(self, x):
        return self.add(Transpose(tuple(map(int, self.rng.permutation(x.type.rank)))), x)

    def swap(self, x):
        n = x.type.rank
        return self.add(Transpose((*range(n - 2), n - 1, n - 2)), x) if n > 1 else x

    def reshape(self, x):
        dims = list(x.type.dims)
        k = int(self.rng.integers(len(dims)))
        if self.rng.random() < 0.5 or len(dims) < 2:
            dims.insert(k, 1)
        else:
            k = min(k, len(dims) - 2)
            dims[k : k + 2] = [dims[k] * dims[k + 1]]
        return self.add(Reshape(tuple(dims)), x) if len(dims) <= 5 else x

    def slice(self, x):
        dims, k = x.type.dims, int(self.rng.integers(x.type.rank))
        n = int(self.rng.integers(1, dims[k] + 1))
        start = int(self.rng.integers(dims[k] - n + 1))
        step = -1 if self.rng.random() < 0.2 else 1
        own = (start if step > 0 else start + n - 1, n, step)
        axes = [own if j == k else (0, m, 1) for j, m in enumerate(dims)]
        return self.add(Slice(*(tuple(field) for field in zip(*axes, strict=True))), x)

    def gather(self, x):
        k = int(self.rng.integers(x.type.rank))
        if x.type.rank < 2:
            return x
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(self.rng.integers(-1, x.type.dims[k] - 1))
        return self.add(Gather(k), x, Value(name, TensorType((), i64)))

    def concat(self, x):
        k = int(self.rng.integers(x.type.rank))
        other = self.pick((x, self.normal(*x.type.dims)))
        return self.add(Concat(k), *self.pick(((x, other), (other, x), (x,))))

    def pad(self, x):
        pads = tuple(int(n) for n in self.rng.integers(0, 2, 2 * x.type.rank))
        return self.add(Pad(pads, "constant"), x, self.weight(0.0))

    def reduce(self, x):
        axes = (int(self.rng.integers(-1, x.type.rank - 1)),)
        keep = bool(self.rng.random() < 0.6) or x.type.rank < 3
        return self.add(Reduce(self.pick(("mean", "max", "sum")), axes, keep), x)

    def softmax(self, x):
        return self.add(Softmax(int(self.rng.integers(-1, x.type.rank - 1))), x)

    def cast(self, x):
        return self.add(Cast(f32), self.add(Cast(f64), x))

    def identity(self, x):
        return self.add(Identity(), x)

    def matmul(self, x):
        if x.type.rank < 2:
            return x
        n = int(self.pick((3, 16)))
        if self.rng.random() < 0.3:
            w = self.normal(n, x.type.dims[-1])
            return self.add(MatMul(False, True), x, w)
        return self.add(MatMul(), x, self.normal(x.type.dims[-1], n))

    def flat_matmul(self, x):
        k = x.type.dims[-1]
        flat = self.add(Reshape((x.type.size // k, k)), x)
        y = self.add(MatMul(), flat, self.normal(k, 5))
        y = self.add(Pointwise("add"), y, self.normal(5))
        return self.add(Reshape((*x.type.dims[:-1], 5)), y)

    def conv(self, x):
        if x.type.rank != 4:
            return x
        m, k = int(self.pick((3, 16))), int(self.pick((1, 3)))
        if min(x.type.dims[2:]) < 1:
            return x
        op = Conv((1, 1), (k // 2,) * 4, (1, 1), 1)
        return self.add(op, x, self.normal(m, x.type.dims[1], k, k))

    def parallel(self, x):
        """Two wide results of x, each with an activation, added after a reduction."""
        wide = []
        for _ in range(2):
            y = self.add(MatMul(), x, self.normal(x.type.dims[-1], 16)) if x.type.rank > 1 else x
            y = self.add(Pointwise("relu"), y)
            wide.append(self.add(Reduce("mean", (-1,), True), y))
        return self.add(Pointwise("add"), *wide)

    def computed(self, x):
        c = self.add(Pointwise("exp"), self.normal(x.type.dims[-1]))
        return self.add(Pointwise("add"), self.add(Reshape((1, x.type.dims[-1])), c), x)

    def clip(self, x):
        y = self.add(Pointwise("max"), self.scalar(x), self.weight(0.0))
        y = self.add(Pointwise("min"), y, self.weight(6.0))
        y = self.add(Pointwise("div"), y, self.weight(6.0))
        return self.add(Pointwise("mul"), y, x)

    def norm(self, x):
        if x.type.rank < 2:
            return x
        c = x.type.dims[1]
        var = self.weight(self.rng.random(c) + 0.5)
        return self.add(BatchNorm(1e-3), x, self.normal(c), self.normal(c), self.normal(c), var)

    def pool(self, x):
        if x.type.rank != 4 or min(x.type.dims[2:]) < 2:
            return x
        op = Pool(self.pick(("max", "average")), (2, 2), (1, 1), (0, 0, 0, 0), (1, 1))
        return self.add(op, x)

    def broadcast(self, x):
        return self.add(Broadcast((2, *x.type.dims)), x) if x.type.rank < 4 else x


STEPS = tuple(name for name in vars(Maker) if name not in ("pick", "weight", "add", "normal")
              and not name.startswith("_"))  # fmt: skip


def random_graph(seed, nodes=14):
    maker = Maker(seed)
    while len(maker.nodes) < nodes:
        recent = maker.values[-3:] if maker.rng.random() < 0.8 else maker.values
        value = getattr(maker, maker.pick(STEPS))(maker.pick(recent))
        if 0 < value.type.size < 3000:
            maker.values.append(value)
    made = {v.name for v in maker.values[1:]}
    last = [v for v in maker.values[-2:] if v.name in made]
    return Graph(
        "random", (maker.x,), tuple(maker.nodes), tuple(dict.fromkeys(last)), maker.weights
    )


@pytest.mark.parametrize("seed", range(60))
def test_random_graph(seed, same):
    before = random_graph(seed)
    verify(before)
    assert text(parse(text(before), before.weights)) == text(before)
    after = simplify(before)
    assert text(parse(text(after), after.weights)) == text(after)
    assert after.outputs == before.outputs
    same(before, after, 1e-4)
