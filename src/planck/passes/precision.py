"""Which tensors lie in memory as bfloat16 or float16; what is computed stays float32.

    %y = Region(%x, %w, %b) graph {        %y: bf16 = Region(%x: bf16, %w: bf16, %b) graph {
      %c = Conv(%x, %w, %b)                  %x_f32 = Cast(%x); %w_f32 = Cast(%w)
      %y = Pointwise(%c) {fn="relu"} }  ->   %c = Conv(%x_f32, %w_f32, %b)
                                             %y_f32 = Pointwise(%c) {fn="relu"}
                                             %y = Cast(%y_f32) }

It runs on kernels, after fusion and layout: only what goes through memory has a width to choose,
and neither of them need know. Operators keep their meaning; a region with its casts says what its
kernel computes: values widened as they are read, float32 inside, one rounding as they are written.
A product of two bfloat16 is exact in float32, which is what lets a tactic take VDPBF16PS where both
operands were widened. Float16 has no such instruction here; it is half the bytes of weights, and
three bits more.

What becomes bfloat16:

- the operands of products that gain: convolutions, matrix products and attention in which every
  element is multiplied often. Their constant operands become bfloat16 too;
- what lies between products: made from a product's result, and read only on the way to others.

What stays float32: network inputs, outputs and constants; the tail behind the last products, where
detection heads compute coordinates in pixels (in bfloat16 a coordinate of 640 is off by 2) and
classifiers their probabilities; what is computed before the first product, such as positions and
their sines; coordinates of sampling; integers; and whatever a reference step or control flow reads.
Views share their source's memory and so its type.

What becomes float16 on a CPU: the constant operands of such products, and nothing else. So nothing
overflows that did not in float32; constants that float16 cannot hold, from 65520 on, stay what they
are.

On a GPU (`on_gpu`) both are as bfloat16 is here. There tensor cores decide what gains: a product of
float32 takes so much longer that what must stay float32 is rounded by a kernel before the product
that reads it; but pictures of few channels are not, as a stem loads them element by element anyway.
What only leads to a tensor that is short because a product reads it lies between products there,
though another reader of that tensor leads to an output: the sums before a transformer's norms.

- One core of Zen 5: with weights in float16 one row times 4096x4096 from memory takes 825 us, not
  1543, and eight rows times 1024x1024 95, not 134; convolutions and larger products take as long as
  before (606 and 612 us, 387 and 386). A row of weights is converted once for a whole tile.
- With activations in float16 too, which are converted for each broadcast, direct convolutions take
  8 to 17 % longer, one of 256 channels at 14x14 32 %, and those eight rows 177 us; Winograd takes
  2 % less. Not done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.dtypes import Array, DType, f16, f32
from planck.ir.graph import Graph, Namer, Node, Op, Value
from planck.ops.identity import Identity
from planck.ops.movement import Broadcast, Concat, Reshape, Slice, Transpose
from planck.ops.nn import (
    Attention,
    Conv,
    ConvTranspose,
    DeformColumns,
    GridSample,
    MatMul,
    RoiAlign,
)
from planck.ops.pointwise import Cast
from planck.ops.region import Region
from planck.passes.layout import STEM_CHANNELS, region_of

VIEWS: Final = (Concat, Reshape, Slice, Transpose)
MOVES: Final = (*VIEWS, Broadcast, Identity)
PRODUCTS: Final = {Conv: 2, ConvTranspose: 2, MatMul: 2, Attention: 3}  # how many operands
# Operands that say where to read, not what: nothing is gained by rounding them, much is lost.
PLACES: Final[Mapping[type[Op], int]] = {GridSample: 1, RoiAlign: 1, DeformColumns: 1}
# Products that an element takes part in, for fewer bits to pay. Fewer are three channels of a stem,
# a depthwise filter, or a weighted sum that a detection head makes a coordinate of.
LEAST_PRODUCTS: Final = 8
LEAST_ON_GPU: Final = 2


def shorten(graph: Graph, dtype: DType, on_gpu: bool = False) -> Graph:
    """Graph of regions in float32 -> the same with a dtype of 16 bits in memory where that pays.

    dtype:  bf16: products and what lies between them; f16: constants that are multiplied, and on
            a GPU all that bf16 is there
    """
    return _Rewriter(graph, _Choice(graph, dtype, on_gpu), dtype).run()


@dataclass(frozen=True, slots=True)
class _Flat:
    """A node, inside a region or not, by the names that its values have outside."""

    op: Op
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


class _Choice:
    """Decides: `short` are the names of values that become short, `weights` of constants.

    copied:  of values that stay wide, but are multiplied as short copies
    wide:    of values that are multiplied as they are, with short weights
    """

    def __init__(self, graph: Graph, dtype: DType, on_gpu: bool) -> None:
        self.graph, self.dtype, self.on_gpu = graph, dtype, on_gpu
        self.least = LEAST_ON_GPU if on_gpu else LEAST_PRODUCTS
        self.copied: set[str] = set()
        self.wide: set[str] = set()
        self.flat = list(_flattened(graph))
        self.group = _groups(graph)
        kept = {self.group.get(name, name) for name in _kept(graph)}
        self.kept = {name for name in self.group if self.group[name] in kept}
        if dtype is f16 and not on_gpu:
            self.short: set[str] = set()
            self.weights = {name for node in self.flat for name in self._constants(node)}
            return
        gains = [node for node in self.flat if self.gains(node)]
        operands = {v.name for node in gains for v in _operands(node)}
        between = self._between(gains, operands if on_gpu else set())
        wanted = {self.group[name] for name in operands | between if name in self.group}
        self.short = {n for n, g in self.group.items() if g in wanted and n not in self.kept}
        self.weights = operands & graph.weights.keys()
        if on_gpu:
            self.wide = {v.name for node in gains for v in _picture(node)} & self.kept
            self.copied = (operands & self.kept) - self.wide

    def gains(self, node: _Flat) -> bool:
        """Whether a node is a product that is worth it and whose operands may all be short."""
        worth = _products_of_one(node) >= self.least
        return worth and all(v.type.dtype is f32 and self._may(v.name) for v in _operands(node))

    def _may(self, name: str) -> bool:
        """Whether a value may be short, or multiplied as a short copy."""
        array = self.graph.weights.get(name)
        if array is not None:
            return self.dtype is not f16 or _fits_half(array)
        return name in self.group and (self.on_gpu or name not in self.kept)

    def _constants(self, node: _Flat) -> Iterable[str]:
        """The constants that a product multiplies, if it is worth it, and float16 holds them."""
        if _products_of_one(node) >= self.least:
            for v in _operands(node):
                array = self.graph.weights.get(v.name)
                if array is not None and v.type.dtype is f32 and _fits_half(array):
                    yield v.name

    def _between(self, gains: list[_Flat], enough: set[str]) -> set[str]:
        """Values that come from a product, and all of whose readers lead to one that gains.

        enough:  values that are short anyway: who only leads to such a one is between, too
        """
        follows: set[str] = set()
        for node in self.flat:
            if type(node.op) in PRODUCTS or any(v.name in follows for v in node.inputs):
                follows.update(v.name for v in node.outputs if v.type.dtype.is_float)
        ends = {v.name for v in self.graph.outputs}
        leads: dict[str, bool] = {}
        chosen = {id(node) for node in gains}
        for node in reversed(self.flat):
            onward = any(
                (leads.get(v.name, False) or v.name in enough) and v.name not in ends
                for v in node.outputs
            )
            for k, value in enumerate(node.inputs):
                own = value in _operands(node) if id(node) in chosen else onward
                own = own and value.type.dtype.is_float and PLACES.get(type(node.op)) != k
                leads[value.name] = leads.get(value.name, True) and own
        return {name for name, own in leads.items() if own and name in follows}


def _fits_half(array: Array) -> bool:
    """Whether all numbers are finite in float16: what is 65520 or more is not."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float16)).all())


def _flattened(graph: Graph) -> Iterable[_Flat]:
    for number, node in enumerate(graph.nodes):
        if not isinstance(node.op, Region):
            yield _Flat(node.op, node.inputs, node.outputs)
            continue
        inner = node.op.graph
        outer = dict(
            zip(
                (v.name for v in (*inner.inputs, *inner.outputs)),
                (*node.inputs, *node.outputs),
                strict=True,
            )
        )
        for own in inner.nodes:
            inputs, outputs = (
                tuple(outer.get(v.name, Value(f"{number}/{v.name}", v.type)) for v in values)
                for values in (own.inputs, own.outputs)
            )
            yield _Flat(own.op, inputs, outputs)


def _operands(node: _Flat) -> tuple[Value, ...]:
    """What is multiplied."""
    return node.inputs[: PRODUCTS.get(type(node.op), 0)]


def _picture(node: _Flat) -> tuple[Value, ...]:
    """What a convolution of few channels reads."""
    few = isinstance(node.op, Conv) and node.inputs[0].type.dims[1] <= STEM_CHANNELS
    return node.inputs[:1] if few else ()


def _products_of_one(node: _Flat) -> int:
    """How many products an element of an operand takes part in, at least; 0 for other nodes."""
    op = node.op
    if isinstance(op, Conv | ConvTranspose):
        channels = node.inputs[0].type.dims[1], node.outputs[0].type.dims[1]
        return min(channels) // op.groups
    if isinstance(op, MatMul):
        a, product = node.inputs[0].type.dims, node.outputs[0].type.dims
        return min(a[-2 if op.transpose_a else -1], product[-1])
    if isinstance(op, Attention):
        return min(node.inputs[0].type.dims[-1], node.inputs[1].type.dims[-2])
    return 0


def _groups(graph: Graph) -> dict[str, str]:
    """Float32 values by the first of those that share memory with them: views and concats."""
    first: dict[str, str] = {}
    for value in graph.values():
        if value.type.dtype is f32 and value.name not in graph.weights:
            first[value.name] = value.name
    members = {name: [name] for name in first}
    for node in graph.nodes:
        if isinstance(node.op, VIEWS):
            names = [v.name for v in (*node.inputs, *node.outputs) if v.name in first]
            for name in names[1:]:
                own, other = first[names[0]], first[name]
                if own != other:
                    for moved in members.pop(other):
                        first[moved] = own
                        members[own].append(moved)
    return first


def _kept(graph: Graph) -> Iterable[str]:
    """Values that must stay as they are, and with them those that share their memory."""
    yield from (v.name for v in (*graph.inputs, *graph.outputs))
    for node in graph.nodes:
        if isinstance(node.op, Region):
            own = (v.name for v in node.op.graph.inputs)
            outer = dict(zip(own, (v.name for v in node.inputs), strict=True))
            for n in node.op.graph.nodes:
                if isinstance(n.op, Attention) and len(n.inputs) > 3:  # -1e9 is no half
                    yield outer.get(n.inputs[3].name, n.inputs[3].name)
            continue
        constant = any(v.name in graph.weights for v in node.inputs)
        if constant or not isinstance(node.op, VIEWS):
            yield from (v.name for v in (*node.inputs, *node.outputs))


class _Rewriter:
    def __init__(self, graph: Graph, choice: _Choice, dtype: DType) -> None:
        self.graph, self.choice, self.dtype = graph, choice, dtype
        self.namer = Namer(v.name for v in graph.values())
        self.weights: dict[str, Array] = dict(graph.weights)
        self.rounded: dict[str, Value] = {}

    def run(self) -> Graph:
        choice = self.choice
        if not choice.short and not choice.weights and not choice.copied:
            return self.graph
        nodes = tuple(new for node in self.graph.nodes for new in self._nodes(node))
        used = {v.name for n in nodes for v in n.inputs} | {v.name for v in self.graph.outputs}
        weights = {name: array for name, array in self.weights.items() if name in used}
        return self.graph.with_(nodes=nodes, weights=weights)

    def _nodes(self, node: Node) -> Iterator[Node]:
        """The node, and before it the copies that it is the first to multiply."""
        inputs, outputs = (
            tuple(map(self._value, values)) for values in (node.inputs, node.outputs)
        )
        op = node.op
        if isinstance(op, Region):
            multiplied = self._multiplied(node)
            for v in node.inputs:
                if v.name in multiplied & self.choice.copied and v.name not in self.rounded:
                    yield self._copied(v, node.origin)
            inputs = tuple(
                self._rounded(v) if v.name in multiplied else self._value(v) for v in node.inputs
            )
            op = _with_casts(op, inputs, outputs, self.dtype)
        yield Node(op, inputs, outputs, node.origin)

    def _multiplied(self, node: Node) -> set[str]:
        """What a region multiplies with something that is short now, and reads as a copy."""
        assert isinstance(node.op, Region)
        choice = self.choice
        if self.dtype is f16 and not choice.on_gpu:
            apart, short = choice.weights, choice.weights
        else:
            apart = choice.weights | choice.copied
            short = choice.short | choice.copied | choice.wide
        found: set[str] = set()
        for own in _flattened(self.graph.with_(nodes=(node,))):
            operands = {v.name for v in _operands(own)}
            if operands & short and (not choice.on_gpu or choice.gains(own)):
                found |= operands & apart
        return found

    def _copied(self, value: Value, origin: tuple[str, ...]) -> Node:
        """The kernel that rounds a value which stays wide elsewhere."""
        short = value.type.with_dtype(self.dtype)
        copy = Value(self.namer(f"{value.name}_{self.dtype}"), short)
        self.rounded[value.name] = copy
        return region_of(Node(Cast(self.dtype), (value,), (copy,), origin))

    def _value(self, value: Value) -> Value:
        short = value.name in self.choice.short
        return Value(value.name, value.type.with_dtype(self.dtype)) if short else value

    def _rounded(self, value: Value) -> Value:
        """A constant in the dtype, under a name of its own."""
        if value.name not in self.rounded:
            name = self.namer(f"{value.name}_{self.dtype}")
            self.weights[name] = self.graph.weights[value.name].astype(self.dtype.numpy)
            self.rounded[value.name] = Value(name, value.type.with_dtype(self.dtype))
        return self.rounded[value.name]


def _with_casts(
    region: Region, inputs: tuple[Value, ...], outputs: tuple[Value, ...], dtype: DType
) -> Region:
    """The region between values of these types: casts at its boundary, or none if it only moves."""
    inner = region.graph
    pairs = (
        *zip(inner.inputs, inputs, strict=True),
        *zip(inner.outputs, outputs, strict=True),
    )
    changed = {own.name: v.type.dtype for own, v in pairs if own.type.dtype is not v.type.dtype}
    if not changed:
        return region
    moves = all(isinstance(n.op, MOVES) for n in inner.nodes) and not inner.weights
    if moves and len(changed) == len({own.name for own, _ in pairs}):
        return Region(_moved(inner, dtype))
    namer = Namer(v.name for v in inner.values())
    wide = {name: namer(f"{name}_f32") for name in changed}

    def inside(v: Value) -> Value:
        return Value(wide[v.name], v.type.with_block(0)) if v.name in wide else v

    def outside(v: Value) -> Value:
        return Value(v.name, v.type.with_dtype(dtype)) if v.name in wide else v

    reads = [Node(Cast(f32), (outside(v),), (inside(v),)) for v in inner.inputs if v.name in wide]
    nodes = [
        Node(n.op, tuple(map(inside, n.inputs)), tuple(map(inside, n.outputs)), n.origin)
        for n in inner.nodes
    ]
    writes = [
        Node(Cast(dtype), (inside(v),), (outside(v),))
        for v in {v.name: v for v in inner.outputs}.values() if v.name in wide
    ]  # fmt: skip
    return Region(
        inner.with_(
            inputs=tuple(map(outside, inner.inputs)),
            nodes=(*reads, *nodes, *writes),
            outputs=tuple(map(outside, inner.outputs)),
        )
    )


def _moved(inner: Graph, dtype: DType) -> Graph:
    """A graph that moves elements as they are."""

    def short(v: Value) -> Value:
        return Value(v.name, v.type.with_dtype(dtype))

    return inner.with_(
        inputs=tuple(map(short, inner.inputs)),
        nodes=tuple(
            Node(n.op, tuple(map(short, n.inputs)), tuple(map(short, n.outputs)), n.origin)
            for n in inner.nodes
        ),
        outputs=tuple(map(short, inner.outputs)),
    )
