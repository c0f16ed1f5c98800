"""Random small networks as exporters spell them, to be compared with ONNX Runtime.

    python -m bench.fuzz.networks --count 1000        # on this processor
    python -m bench.fuzz.networks --first 482 --count 1 --keep 482.onnx

Each is a few steps on images and on rows: convolutions, norms, attention and products, and much
that only moves elements, in the ways that passes look for. What a pass does to one must not change
what it computes, and passes must come to an end.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = ((4, 6), (6, 4), (5, 3), (4, 4))
FEW_PIXELS = 40
AGAIN = 0.2  # how often a step reads an older value
RESIDUAL = 0.35  # how often an older value is added
EPSILON = np.float32(1e-5)


class Value(NamedTuple):
    name: str
    dims: tuple[int, ...]


Step = Callable[["Writer", Value], Value | None]


@dataclass
class Writer:
    """A network while it is drawn."""

    draw: random.Random
    normal: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        more = [f"{name}_places"] if op == "TopK" else []
        self.nodes.append(helper.make_node(op, inputs, [name, *more], **attributes))
        return name

    def constant(self, array: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int) -> str:
        fan = math.prod(shape[1:])
        return self.constant(self.normal.standard_normal(shape, np.float32) / np.float32(fan**0.5))

    def integers(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def cut(self, x: str, axis: int, begin: int, end: int) -> str:
        return self.node("Slice", x, *map(self.integers, (begin, end, axis)))

    def mostly(self, often: float = 0.5) -> bool:
        return self.draw.random() < often


def convolution(w: Writer, x: Value) -> Value:
    n, c, *size = x.dims
    made, taps = w.draw.choice((8, 16, c, 5)), w.draw.choice((1, 1, 3))
    filters = (w.weight(made, c, taps, taps), w.weight(made))
    return Value(w.node("Conv", x.name, *filters, pads=[taps // 2] * 4), (n, made, *size))


def depthwise(w: Writer, x: Value) -> Value:
    c = x.dims[1]
    filters = w.weight(c, 1, 3, 3)
    return Value(w.node("Conv", x.name, filters, pads=[1] * 4, group=c), x.dims)


def excited(w: Writer, x: Value) -> Value:
    c = x.dims[1]
    mean = w.node("GlobalAveragePool", x.name)
    gate = w.node("Sigmoid", w.node("Conv", mean, w.weight(c, c, 1, 1)))
    return Value(w.node("Mul", x.name, gate), x.dims)


def pooled(w: Writer, x: Value) -> Value:
    made = w.node("MaxPool", x.name, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    return Value(made, x.dims)


def enlarged(w: Writer, x: Value) -> Value | None:
    n, c, height, width = x.dims
    if height * width > FEW_PIXELS:
        return None
    scales = w.constant(np.array([1, 1, 2, 2], np.float32))
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    made = w.node("Resize", x.name, "", scales, mode="nearest", **how)
    return Value(made, (n, c, 2 * height, 2 * width))


def group_norm(w: Writer, x: Value) -> Value | None:
    if x.dims[1] % 4:
        return None
    groups = w.node("Reshape", x.name, w.integers(x.dims[0], 4, -1))
    ones, zeros = (w.constant(np.full(4, number, np.float32)) for number in (1, 0))
    made = w.node("InstanceNormalization", groups, ones, zeros)
    return Value(w.node("Reshape", made, w.integers(*x.dims)), x.dims)


def channels_last(w: Writer, x: Value) -> Value:
    """A norm over channels, and perhaps a product, between transposes."""
    c = x.dims[1]
    rows = w.node("Transpose", x.name, perm=[0, 2, 3, 1])
    made = w.node("LayerNormalization", rows, w.weight(c), w.weight(c), axis=-1)
    if w.mostly():
        made = w.node("MatMul", made, w.weight(c, c))
    if w.mostly():
        made = w.node("Add", made, w.weight(c))
    return Value(w.node("Transpose", made, perm=[0, 3, 1, 2]), x.dims)


def written_norm(w: Writer, x: Value) -> Value:
    """A norm over channels, or over the last axis, written out."""
    axes = {"axes": [1] if len(x.dims) == 4 else [-1], "keepdims": 1}
    away = w.node("Sub", x.name, w.node("ReduceMean", x.name, **axes))
    variance = w.node("ReduceMean", w.node("Mul", away, away), **axes)
    root = w.node("Sqrt", w.node("Add", variance, w.constant(EPSILON)))
    made = w.node("Div", away, root)
    factors = w.weight(x.dims[1], 1, 1) if len(x.dims) == 4 else w.weight(x.dims[-1])
    return Value(w.node("Mul", made, factors), x.dims)


def shuffled(w: Writer, x: Value) -> Value | None:
    n, c, *size = x.dims
    groups = w.draw.choice((2, 4))
    if c % groups:
        return None
    apart = w.node("Reshape", x.name, w.integers(n, groups, c // groups, *size))
    swapped = w.node("Transpose", apart, perm=[0, 2, 1, 3, 4])
    return Value(w.node("Reshape", swapped, w.integers(*x.dims)), x.dims)


def halves_swapped(w: Writer, x: Value) -> Value | None:
    """The second half of an axis in front of the first; one negative, or at least zero."""
    axis = w.draw.randrange(1, len(x.dims))
    size = x.dims[axis]
    if size < 2:
        return None
    first, second = w.cut(x.name, axis, 0, size // 2), w.cut(x.name, axis, size // 2, size)
    if w.mostly(0.3):
        second = w.node("Neg", second)
    if w.mostly(0.3):
        first = w.node("Relu", first)
    return Value(w.node("Concat", second, first, axis=axis), x.dims)


def doubled(w: Writer, x: Value) -> Value | None:
    n, c, *size = x.dims
    if c > 20:
        return None
    return Value(w.node("Concat", x.name, w.node("Relu", x.name), axis=1), (n, 2 * c, *size))


def refolded(w: Writer, x: Value) -> Value | None:
    n, c, height, width = x.dims
    dims = (n, c, height // 2, 2 * width)
    return None if height % 2 else Value(w.node("Reshape", x.name, w.integers(*dims)), dims)


def turned(w: Writer, x: Value) -> Value:
    *lead, height, width = x.dims
    perm = [*range(len(lead)), len(lead) + 1, len(lead)]
    return Value(w.node("Transpose", x.name, perm=perm), (*lead, width, height))


def rows_of_pixels(w: Writer, x: Value) -> Value:
    n, c, *size = x.dims
    pixels = math.prod(size)
    joined = w.node("Reshape", x.name, w.integers(n, c, pixels))
    return Value(w.node("Transpose", joined, perm=[0, 2, 1]), (n, pixels, c))


def centred(w: Writer, x: Value) -> Value:
    axes = list(range(2, len(x.dims))) if len(x.dims) == 4 else [1]
    return Value(w.node("Sub", x.name, w.node("ReduceMean", x.name, axes=axes, keepdims=1)), x.dims)


def shifted(w: Writer, x: Value) -> Value:
    each = (1, x.dims[1], 1, 1) if len(x.dims) == 4 else (x.dims[-1],)
    return Value(
        w.node("Add", x.name, w.weight(*(each if w.mostly() else (1, *x.dims[1:])))), x.dims
    )


def activated(w: Writer, x: Value) -> Value:
    name = x.name
    made = w.node("Relu", name) if w.mostly() else w.node("Mul", name, w.node("Sigmoid", name))
    return Value(made, x.dims)


def softmax(w: Writer, x: Value) -> Value:
    return Value(w.node("Softmax", x.name, axis=w.draw.choice((1, -1))), x.dims)


def product(w: Writer, x: Value) -> Value:
    *lead, c = x.dims
    made = w.draw.choice((8, 16, c))
    return Value(w.node("MatMul", x.name, w.weight(c, made)), (*lead, made))


def attention(w: Writer, x: Value) -> Value | None:
    """Two heads; some keys hidden by a sum or by Where, or with a bias of their own."""
    n, length, c = x.dims
    if c % 2 or length > FEW_PIXELS:
        return None

    def heads() -> str:
        projected = w.node("MatMul", x.name, w.weight(c, c))
        apart = w.node("Reshape", projected, w.integers(n, length, 2, c // 2))
        return w.node("Transpose", apart, perm=[0, 2, 1, 3])

    query, key, value = heads(), heads(), heads()
    scores = w.node("MatMul", query, w.node("Transpose", key, perm=[0, 1, 3, 2]))
    scores = w.node("Mul", scores, w.constant(np.float32(0.3)))
    seen = np.tri(length, dtype=bool)
    kind = w.draw.choice(("none", "sum", "where", "bias"))
    if kind == "sum":
        least = w.draw.choice((-1e9, np.finfo(np.float32).min, -np.inf))
        scores = w.node("Add", scores, w.constant(np.where(seen, 0, least).astype(np.float32)))
    elif kind == "where":
        scores = w.node("Where", w.constant(seen), scores, w.constant(np.float32(-1e9)))
    elif kind == "bias":
        scores = w.node("Add", scores, w.weight(1, 2, length, length))
    found = w.node("MatMul", w.node("Softmax", scores, axis=-1), value)
    rows = w.node("Transpose", found, perm=[0, 2, 1, 3])
    made = w.node("Reshape", rows, w.integers(n, length, c))
    if w.mostly():
        made = w.node("Add", x.name, w.node("MatMul", made, w.weight(c, c)))
    return Value(made, x.dims)


def rotated(w: Writer, x: Value) -> Value | None:
    """A rotary embedding."""
    _, length, c = x.dims
    if c % 2:
        return None
    first, second = w.cut(x.name, 2, 0, c // 2), w.cut(x.name, 2, c // 2, c)
    other = w.node("Concat", w.node("Neg", second), first, axis=2)
    parts = (w.node("Mul", name, w.weight(length, c)) for name in (x.name, other))
    return Value(w.node("Add", *parts), x.dims)


def image_of_rows(w: Writer, x: Value) -> Value | None:
    n, length, c = x.dims
    height = next((k for k in (2, 3, 4, 5) if length % k == 0), 0)
    if not height:
        return None
    dims = (n, c, height, length // height)
    swapped = w.node("Transpose", x.name, perm=[0, 2, 1])
    return Value(w.node("Reshape", swapped, w.integers(*dims)), dims)


def heads_apart(w: Writer, x: Value) -> Value | None:
    n, length, c = x.dims
    if c % 4:
        return None
    apart = w.node("Reshape", x.name, w.integers(n, length, 4, c // 4))
    return Value(w.node("Transpose", apart, perm=[0, 2, 1, 3]), (n, 4, length, c // 4))


def overwritten(w: Writer, x: Value) -> Value | None:
    """A part of the first axes written anew; perhaps every second element of the last of these."""
    depth = w.draw.randrange(1, len(x.dims) + 1)
    box = [range(*sorted(w.draw.sample(range(n + 1), 2))) for n in x.dims[:depth]]
    if w.mostly(0.3):
        box[-1] = box[-1][::2]
    places = np.stack(np.meshgrid(*box, indexing="ij"), -1)
    part = x.name
    for axis, side in enumerate(box):
        ends = (side.start, side.stop, axis, side.step)
        part = w.node("Slice", part, *map(w.integers, ends))
    part = w.node("Neg" if w.mostly() else "Sigmoid", part)
    return Value(w.node("ScatterND", x.name, w.constant(places), part), x.dims)


def added_at(w: Writer, x: Value) -> Value:
    """Rows of x added to others, some of them to the same."""
    axis = w.draw.randrange(len(x.dims))
    places = w.constant(w.normal.integers(-x.dims[axis], x.dims[axis], x.dims))
    made = w.node("ScatterElements", x.name, places, x.name, axis=axis, reduction="add")
    return Value(w.node("Tanh", made), x.dims)


def summed(w: Writer, x: Value) -> Value:
    ways = {name: int(w.mostly(0.3)) for name in ("exclusive", "reverse")}
    axis = w.constant(np.array(w.draw.randrange(len(x.dims)), np.int64))
    return Value(w.node("Tanh", w.node("CumSum", x.name, axis, **ways)), x.dims)


def largest(w: Writer, x: Value) -> Value:
    axis = w.draw.randrange(1, len(x.dims))
    k = max(x.dims[axis] // 2, 1)
    made = w.node("TopK", x.name, w.integers(k), axis=axis, largest=int(w.mostly()))
    return Value(made, (*x.dims[:axis], k, *x.dims[axis + 1 :]))


def regions(w: Writer, x: Value) -> Value:
    n, _, height, width = x.dims
    begins = w.normal.uniform(-1, 2, (n, 2))
    corners = np.concatenate([begins, begins + w.normal.uniform(1, 6, (n, 2))], 1)
    where = (w.constant(corners.astype(np.float32)), w.integers(*range(n)))
    sizes = {"output_height": height, "output_width": width}
    made = w.node("RoiAlign", x.name, *where, sampling_ratio=w.draw.choice((0, 2)), **sizes)
    return Value(made, x.dims)


def volume(w: Writer, x: Value) -> Value | None:
    """Channels taken for a depth, and a convolution or a pool of that."""
    n, c, *size = x.dims
    if c % 4:
        return None
    deep = (n, c // 4, 4, *size)
    made = w.node("Reshape", x.name, w.integers(*deep))
    for _ in range(w.draw.randint(1, 2)):
        if w.mostly(0.7):
            taps = w.draw.choice(((3, 3, 3), (1, 3, 3), (3, 1, 1)))
            pads = [k // 2 for k in taps] * 2
            made = w.node("Conv", made, w.weight(c // 4, c // 4, *taps), pads=pads)
        else:
            kind = w.draw.choice(("MaxPool", "AveragePool"))
            made = w.node(kind, made, kernel_shape=[1, 3, 3], pads=[0, 1, 1] * 2)
        if w.mostly():
            made = w.node("Relu", made)
    return Value(w.node("Reshape", made, w.integers(*x.dims)), x.dims)


ANY: tuple[Step, ...] = (
    written_norm, halves_swapped, doubled, turned, centred, shifted, activated, softmax,
    overwritten, added_at, summed, largest,
)  # fmt: skip
STEPS: dict[int, tuple[Step, ...]] = {
    3: (*ANY, product, product, attention, attention, rotated, image_of_rows, heads_apart),
    4: (
        *ANY, convolution, convolution, depthwise, excited, pooled, enlarged, group_norm,
        channels_last, channels_last, shuffled, refolded, rows_of_pixels, rows_of_pixels,
        regions, volume,
    ),
}  # fmt: skip


def network(seed: int) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A model, the same for each seed, and what to feed it."""
    draw, normal = random.Random(seed), np.random.default_rng(seed)
    w = Writer(draw, normal)
    x = Value("x", (draw.choice((1, 1, 2)), draw.choice((3, 5, 8, 16)), *draw.choice(SIZES)))
    made = [x]
    for _ in range(draw.randint(3, 10)):
        source = draw.choice(made) if w.mostly(AGAIN) else made[-1]
        value = draw.choice(STEPS[len(source.dims)])(w, source)
        if value is None:
            continue
        made.append(value)
        same = [old for old in made[:-1] if old.dims == value.dims]
        if same and w.mostly(RESIDUAL):
            made.append(Value(w.node("Add", value.name, draw.choice(same).name), value.dims))
    made = made[1:] or [activated(w, x)]
    outputs = {value.name: value for value in (made[-1], draw.choice(made))}
    ports = [
        [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.dims) for v in values]
        for values in ([x], outputs.values())
    ]
    graph = helper.make_graph(w.nodes, f"network{seed}", *ports, w.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model, {"x": normal.standard_normal(x.dims, np.float32)}


def expected(model: onnx.ModelProto, feed: dict[str, Any]) -> dict[str, Any]:
    """What ONNX Runtime computes."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in model.graph.output]
    return dict(zip(names, session.run(names, feed), strict=True))


def error(got: dict[str, Any], want: dict[str, Any]) -> float:
    """The largest difference over the largest value of an output, the worst output's."""
    return max(
        float(np.abs(got[name] - array).max() / (np.abs(array).max() or 1.0))
        for name, array in want.items()
    )


def main() -> None:
    import planck

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--most", type=float, default=1e-4, help="error that is right")
    parser.add_argument("--keep", type=Path, help="write the last network to this file")
    options = parser.parse_args()
    wrong = 0
    for seed in range(options.first, options.first + options.count):
        model, feed = network(seed)
        if options.keep:
            onnx.save(model, options.keep)
        engine = planck.build(model, optimization_level=0, threads=1, accuracy=None)
        found = error(engine(feed), expected(model, feed))
        if not found <= options.most:
            wrong += 1
            print(f"seed {seed}: {found:.1e} of {[node.op_type for node in model.graph.node]}")
    print(f"{options.count} networks, {wrong} of them wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
