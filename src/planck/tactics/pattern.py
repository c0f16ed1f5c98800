"""What anchored kernels look like: one heavy node, and a tail of pointwise nodes behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from planck.codegen.epilogue import Apply, Epilogue
from planck.codegen.tables import Memory
from planck.dtypes import SHORT_FLOATS, Array, f32, from_numpy
from planck.ir.graph import Graph, Node, Op, Value
from planck.ops.movement import Slice
from planck.ops.nn import Resize
from planck.ops.pointwise import Cast, Pointwise
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel

# Largest error over largest output that an inexact kernel may have where it multiplies bfloat16,
# besides the rounding of the operands, which alone is about as much.
SHORT_BOUND: Final = 4e-3


@dataclass(frozen=True, slots=True)
class Anchored:
    """A kernel taken apart: the heavy node, its result, and the epilogue behind it.

    resized:  operands of the kind "resized", and how the epilogue reads them
    parts:    where the epilogue's only output is written in parts: (output, its first channel)
    """

    kernel: Kernel
    node: Node
    result: Value
    epilogue: Epilogue
    resized: Mapping[str, Resize] = field(default_factory=dict)
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def written(self) -> tuple[str, ...]:
        """The kernel's operands that it writes."""
        return tuple(name for name, _ in self.parts) or self.epilogue.outputs

    def shape(self, value: Value) -> tuple[int, ...]:
        return value.type.dims

    def is_constant(self, name: str) -> bool:
        return name in self.kernel.constants or name in self.kernel.graph.weights

    def channel_operands(self) -> list[str]:
        return self.epilogue.of_kind("channel")

    @property
    def bias(self) -> str:
        """Of a convolution; "" if there is none."""
        return self.node.inputs[2].name if len(self.node.inputs) > 2 else ""


def anchored(
    kernel: Kernel,
    anchor: type[Op],
    channel_axis: int,
    *,
    bfloat16: bool = False,
    resizing: bool = False,
    parting: bool = False,
) -> Anchored | No:
    """Take a kernel apart; No where it is not an anchor of this type with pointwise nodes behind.

    channel_axis:  the axis of the result along which "channel" operands lie; may be negative
    bfloat16:      whether who asks reads and writes operands as their dtypes say: bf16, f16
    resizing:      whether who asks reads operands through a Resize to the nearest neighbour
    parting:       whether who asks writes the result in parts, if slices cut it along the channels
    """
    graph = kernel.graph
    if not bfloat16 and (refusal := float32_only(kernel)):
        return No(refusal)
    plain = without_casts(graph)
    if isinstance(plain, No):
        return plain
    if not plain.nodes or not isinstance(plain.nodes[0].op, anchor):
        return No(f"the first node is no {anchor.__name__}")
    node, *steps = plain.nodes
    slices = [step for step in steps if parting and isinstance(step.op, Slice)]
    steps = [step for step in steps if step not in slices]
    if any(v.type.dtype is not f32 for v in node.inputs[2:]):
        return No("the bias is not f32")
    result = node.outputs[0]
    made = {result.name}
    applied: list[Apply] = []
    operands: dict[str, str] = {}
    constants: dict[str, float] = {}
    sources: dict[str, str] = {}  # a resized tensor -> what it is made of
    resized: dict[str, Resize] = {}
    for step in steps:
        if resizing and isinstance(step.op, Resize):
            otherwise = _reads_resized(kernel, step, result)
            if otherwise is not None:
                return otherwise
            sources[step.outputs[0].name] = step.inputs[0].name
            resized[step.inputs[0].name] = step.op
            continue
        if not isinstance(step.op, Pointwise):
            return No(f"a {type(step.op).__name__} follows the {anchor.__name__}")
        if step.outputs[0].type.dims != result.type.dims:
            return No("the epilogue changes the shape")
        for value in step.inputs:
            if value.name in made or value.name in operands or value.name in constants:
                continue
            if value.name in sources:
                operands[sources[value.name]] = "resized"
                continue
            weight = graph.weights.get(value.name)
            if weight is not None and weight.size == 1:
                constants[value.name] = float(weight.reshape(()))
                continue
            kind = _kind(kernel, value, result, channel_axis)
            if not kind:
                return No(f"the epilogue reads a tensor of shape {value.type.dims}")
            operands[value.name] = kind
        arguments = tuple(sources.get(v.name, v.name) for v in step.inputs)
        applied.append(Apply(step.op.fn, arguments, step.outputs[0].name))
        made.add(step.outputs[0].name)
    outputs = tuple(v.name for v in graph.outputs)
    parts: tuple[tuple[str, int], ...] = ()
    if slices:
        found = _parts(graph, plain.rounded, slices)
        if isinstance(found, No):
            return found
        parts, outputs = found, (slices[0].inputs[0].name,)
    if not {plain.rounded.get(name, name) for name in outputs} <= made:
        return No("an output comes from outside the epilogue")
    plain_reads = [v.name for n in (node, *steps) if n.op not in resized.values() for v in n.inputs]
    if len(set(resized)) < len(sources) or not set(resized).isdisjoint(plain_reads):
        return No("what it reads resized it reads otherwise too")
    beside = {v.name: v.type.dtype for step in steps for v in step.inputs if v.name in operands}
    epilogue = Epilogue(
        result.name, tuple(applied), operands, constants, outputs, plain.rounded,
        {**beside, **dict.fromkeys(outputs, graph.outputs[0].type.dtype),
         **{v.name: v.type.dtype for v in graph.outputs}},
    )  # fmt: skip
    if not bfloat16 and any(dtype is not f32 for dtype in epilogue.dtypes.values()):
        return No("the epilogue reads a constant that is not f32")
    return Anchored(kernel, node, result, epilogue, resized, parts)


def _parts(
    graph: Graph, rounded: Mapping[str, str], slices: list[Node]
) -> tuple[tuple[str, int], ...] | No:
    """Outputs that slices cut from one value, all of it, by their first channels."""
    whole = slices[0].inputs[0]
    cut: dict[str, tuple[int, int]] = {}
    for node in slices:
        op = node.op
        assert isinstance(op, Slice)
        start, size = op.starts[1], op.sizes[1]
        if node.inputs[0] != whole or set(op.steps) != {1}:
            return No("it is cut in several ways")
        if (*op.sizes[:1], *op.sizes[2:]) != (*whole.type.dims[:1], *whole.type.dims[2:]):
            return No("it is cut along another axis than the channels")
        cut[node.outputs[0].name] = (start, size)
    names = {rounded.get(v.name, v.name): v.name for v in graph.outputs}
    if set(names) != set(cut) or len({v.type.dtype for v in graph.outputs}) != 1:
        return No("not all it writes are parts, of one type")
    at, parts = 0, []
    for name, (start, size) in sorted(cut.items(), key=lambda item: item[1]):
        if start != at:
            return No("the parts overlap, or leave channels out")
        parts.append((names[name], start))
        at += size
    if at != whole.type.dims[1]:
        return No("the parts leave channels out")
    return tuple(parts)


def _reads_resized(kernel: Kernel, step: Node, result: Value) -> No | None:
    """Why an epilogue cannot read a resized operand as it lies before; None if it can."""
    source, op = step.inputs[0], step.op
    assert isinstance(op, Resize)
    if source.name not in kernel.operands or kernel.graph.weights.get(source.name) is not None:
        return No("what is resized lies in no memory")
    if op.mode != "nearest" or op.coordinates == "tf_crop_and_resize":
        return No("the epilogue interpolates")
    same = source.type.dims[:2] == result.type.dims[:2] and op.scales[:2] == (1.0, 1.0)
    if not same or step.outputs[0].type.dims != result.type.dims:
        return No("the epilogue resizes channels, or to another shape")
    return None


def float32_only(kernel: Kernel) -> str:
    """Why a kernel is nothing for who reads and writes float32 only; "" if it is.

    Constants may have 16 bits: they are packed as the code wants them.
    """
    for value in (*kernel.graph.inputs, *kernel.graph.outputs):
        short = value.name in kernel.constants and value.type.dtype in SHORT_FLOATS
        if value.type.dtype is not f32 and not short:
            return f"%{value.name} is {value.type.dtype.name}: this way computes in f32 only"
    return ""


@dataclass(frozen=True, slots=True)
class Plain:
    """A graph's nodes, which compute in float32, without the casts at its boundary.

    nodes:    they read what the graph reads, in its dtypes
    rounded:  outputs in another dtype -> the float32 value that each is made of
    """

    nodes: tuple[Node, ...]
    rounded: Mapping[str, str]


def without_casts(graph: Graph) -> Plain | No:
    """Leave out the casts that widen inputs of 16 bits and round outputs to them.

    No where nodes compute in another type than float32.
    """
    read = {v.name: v for v in graph.inputs}
    written = {v.name for v in graph.outputs}
    rounded: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Cast):
            source, made = node.inputs[0], node.outputs[0]
            types = source.type.dtype, made.type.dtype
            widens = types[0] in SHORT_FLOATS and types[1] is f32
            if widens and source.name in read and made.name not in written:
                read[made.name] = read[source.name]
                continue
            rounds = types[0] is f32 and types[1] in SHORT_FLOATS
            if rounds and made.name in written and source.name not in read:
                rounded[made.name] = source.name
                continue
        if any(v.type.dtype is not f32 for v in (*node.inputs, *node.outputs)):
            return No("computes in f32 only")
        inputs = tuple(read.get(v.name, v) for v in node.inputs)
        nodes.append(Node(node.op, inputs, node.outputs, node.origin))
    return Plain(tuple(nodes), rounded)


def first_node(kernel: Kernel) -> Node:
    """The heavy node of a kernel that a tactic has taken, without the casts around it."""
    plain = without_casts(kernel.graph)
    assert isinstance(plain, Plain), plain
    return plain.nodes[0]


def _kind(kernel: Kernel, value: Value, result: Value, axis: int) -> str:
    """How an operand of the epilogue lies beside the result: "full", "channel", "scalar" or ""."""
    shape, own = result.type.dims, value.type.dims
    if len(own) > len(shape):
        return ""
    if value.type.size == 1:
        return "scalar"
    padded = (1,) * (len(shape) - len(own)) + own
    along = tuple(n if i == axis % len(shape) else 1 for i, n in enumerate(shape))
    if padded == along and not (padded == shape and value.type.block):
        return "channel"
    return "full" if own == shape and value.name in kernel.operands else ""


def blocked_memory(kernel: Kernel, name: str) -> Memory:
    """Byte strides of a blocked [N, C, L] or [N, C, H, W] operand."""
    operand = kernel.operands[name]
    size = operand.type.dtype.bytes
    batch, block, *spatial, _ = operand.strides
    row, column = spatial if len(spatial) == 2 else (0, *spatial)
    return Memory(batch * size, block * size, row * size, column * size, operand.type.dtype)


def two_dimensional(values: tuple[int, ...], fill: int) -> tuple[int, int]:
    """Spatial values of one or two axes, as two."""
    return (values[0], values[1]) if len(values) == 2 else (fill, values[0])


def check_blocked(form: Anchored, lanes: int, names: tuple[str, ...]) -> No | None:
    """Whether operands lie in blocks of the target's lanes."""
    for name in names:
        block = form.kernel.operands[name].type.block
        if block != lanes:
            what = f"blocks of {block}" if block else "rows"
            return No(f"%{name} lies in {what}, not in blocks of {lanes}")
    return None


def check_channel_operands(form: Anchored, channels: int, lanes: int) -> No | None:
    """Operands along the channels must be readable in whole vectors."""
    for name in form.channel_operands():
        if not form.is_constant(name) and channels % lanes:
            return No(f"%{name} is known at run time only and has no room for padding lanes")
    return None


def check_bias(form: Anchored, channels: int, lanes: int) -> No | None:
    """So must a convolution's bias."""
    if form.bias and not form.is_constant(form.bias) and channels % lanes:
        return No("the bias is known at run time only and has no room for padding lanes")
    return None


def pack_channels(form: Anchored, constants: Mapping[str, Array], size: int) -> dict[str, Array]:
    """Constants along the channels, and a bias that is one, with zeros up to a size."""
    names = [*form.channel_operands(), *([form.bias] if form.bias else [])]
    return {
        name: padded(constant(form.kernel, constants, name), size)
        for name in names
        if form.is_constant(name)
    }


def padded(array: Array, size: int) -> Array:
    """A constant along the channels, zeros up to size."""
    short = from_numpy(array.dtype) in SHORT_FLOATS
    flat = np.zeros(size, array.dtype if short else np.float32)
    flat[: array.size] = array.reshape(-1)
    return flat


def constant(kernel: Kernel, constants: Mapping[str, Array], name: str) -> Array:
    """A constant operand's value, whether it came as an input or inside the graph."""
    return constants[name] if name in constants else kernel.graph.weights[name]


def symbol(prefix: str, kernel: Kernel, config: Config) -> str:
    """A function name unique to a kernel and a configuration."""
    digest = hashlib.sha256(json.dumps(dict(config), sort_keys=True).encode()).hexdigest()[:8]
    return f"{prefix}_{kernel.key}_{digest}"
