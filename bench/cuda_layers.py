"""The layers that GPU kernels are timed on: convolutions, products, attentions, in fp16."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from planck.dtypes import Array, f16, f32
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.nn import Attention, Conv, MatMul
from planck.ops.pointwise import Cast, Pointwise
from planck.tactics.kernel import Kernel, Operand
from planck.target import Target

# input channels, outputs, height and width, filter, stride, groups, whether a residual is added
CONVOLUTIONS: Final = {
    "resnet50 stem 7x7/2": (3, 64, 224, 7, 2, 1, False),
    "resnet50 3x3 64@56": (64, 64, 56, 3, 1, 1, False),
    "resnet50 1x1 64-256@56": (64, 256, 56, 1, 1, 1, True),
    "resnet50 1x1 256-64@56": (256, 64, 56, 1, 1, 1, False),
    "resnet50 3x3/2 128@56": (128, 128, 56, 3, 2, 1, False),
    "resnet50 3x3 128@28": (128, 128, 28, 3, 1, 1, False),
    "resnet50 3x3 256@14": (256, 256, 14, 3, 1, 1, False),
    "resnet50 1x1 1024-256@14": (1024, 256, 14, 1, 1, 1, False),
    "resnet50 1x1/2 512-1024@28": (512, 1024, 28, 1, 2, 1, False),
    "resnet50 3x3 512@7": (512, 512, 7, 3, 1, 1, False),
    "resnet50 1x1 512-2048@7": (512, 2048, 7, 1, 1, 1, True),
    "mobilenetv2 1x1 16-96@112": (16, 96, 112, 1, 1, 1, False),
    "mobilenetv2 dw 3x3/2 96@112": (96, 96, 112, 3, 2, 96, False),
    "mobilenetv2 dw 3x3 384@14": (384, 384, 14, 3, 1, 384, False),
    "mobilenetv2 1x1 384-64@14": (384, 64, 14, 1, 1, 1, False),
    "yolov5s stem 6x6/2": (3, 32, 640, 6, 2, 1, False),
    "yolov5s 3x3/2 32-64@320": (32, 64, 320, 3, 2, 1, False),
    "yolov5s 3x3 32@160": (32, 32, 160, 3, 1, 1, False),
    "yolov5s 3x3 128@40": (128, 128, 40, 3, 1, 1, True),
    "yolov5s 1x1 512-255@20": (512, 255, 20, 1, 1, 1, False),
}
# rows at batch 1, K, N, whether a residual is added
PRODUCTS: Final = {
    "bert 768-2304": (128, 768, 2304, False),
    "bert 768-768": (128, 768, 768, True),
    "bert 768-3072": (128, 768, 3072, False),
    "bert 3072-768": (128, 3072, 768, True),
    "resnet50 classifier": (1, 2048, 1000, False),
}
ATTENTIONS: Final = {"bert 12 heads": (12, 128, 64)}


@dataclass(frozen=True)
class Layer:
    """One layer at one batch size. kind: "conv", "matmul" or "attention"."""

    name: str
    kind: str
    batch: int
    kernel: Kernel
    facts: tuple[Any, ...]

    @property
    def flops(self) -> float:
        if self.kind == "conv":
            c, _, _, r, _, g, _ = self.facts
            out = self.kernel.graph.outputs[0].type.dims
            return 2 * math.prod(out) * c / g * r * r
        if self.kind == "matmul":
            rows, k, n, _ = self.facts
            return 2 * self.batch * rows * k * n
        heads, length, depth = self.facts
        return 4 * self.batch * heads * length * length * depth


class Builder:
    """A kernel's graph, node by node: operands in 16 bits, arithmetic in float32."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []

    def input(
        self, name: str, shape: tuple[int, ...], dtype: Any = f16, block: bool = False
    ) -> Value:
        value = Value(name, TensorType(shape, dtype, -(-shape[1] // 8) * 8 if block else 0))
        self.inputs.append(value)
        if dtype is f32:
            return value
        wide = Value(f"{name}_wide", value.type.with_dtype(f32))
        self.nodes.append(Node(Cast(f32), (value,), (wide,)))
        return wide

    def node(self, op: Op, inputs: tuple[Value, ...], shape: tuple[int, ...], block: int) -> Value:
        made = Value(f"n{len(self.nodes)}", TensorType(shape, f32, block))
        self.nodes.append(Node(op, inputs, (made,)))
        return made

    def kernel(self, result: Value, constants: tuple[str, ...], target: Target) -> Kernel:
        out = Value("out", result.type.with_dtype(f16))
        self.nodes.append(Node(Cast(f16), (result,), (out,)))
        operands = {v.name: Operand.dense(v.type) for v in (*self.inputs, out)}
        graph = Graph("kernel", tuple(self.inputs), tuple(self.nodes), (out,))
        return Kernel(graph, operands, frozenset(constants), target)


def layers(batches: tuple[int, ...], target: Target, parts: list[str]) -> list[Layer]:
    """All layers whose names hold one of the parts, at every batch size."""
    made = []
    for batch in batches:
        made += [_convolution(name, batch, facts, target) for name, facts in CONVOLUTIONS.items()]
        made += [_product(name, batch, facts, target) for name, facts in PRODUCTS.items()]
        made += [_attention(name, batch, facts, target) for name, facts in ATTENTIONS.items()]
    return [layer for layer in made if not parts or any(p in layer.name for p in parts)]


def _convolution(name: str, batch: int, facts: Any, target: Target) -> Layer:
    c, m, size, r, stride, groups, residual = facts
    pad = 2 if r == 6 else (r - 1) // 2
    out = (size + 2 * pad - r) // stride + 1
    b = Builder()
    x = b.input("x", (batch, c, size, size), block=c > 4)
    w = b.input("w", (m, c // groups, r, r))
    bias = b.input("bias", (m,), f32)
    shape, block = (batch, m, out, out), -(-m // 8) * 8
    made = b.node(Conv((stride,) * 2, (pad,) * 4, (1, 1), groups), (x, w, bias), shape, block)
    if residual:
        beside = b.input("beside", shape, block=True)
        made = b.node(Pointwise("add"), (made, beside), shape, block)
    made = b.node(Pointwise("relu"), (made,), shape, block)
    return Layer(name, "conv", batch, b.kernel(made, ("w", "bias"), target), facts)


def _product(name: str, batch: int, facts: Any, target: Target) -> Layer:
    rows, k, n, residual = facts
    b = Builder()
    x, w = b.input("x", (batch * rows, k)), b.input("w", (k, n))
    bias = b.input("bias", (n,), f32)
    shape = (batch * rows, n)
    made = b.node(MatMul(), (x, w), shape, 0)
    made = b.node(Pointwise("add"), (made, bias), shape, 0)
    if residual:
        made = b.node(Pointwise("add"), (made, b.input("beside", shape)), shape, 0)
    return Layer(name, "matmul", batch, b.kernel(made, ("w", "bias"), target), facts)


def _attention(name: str, batch: int, facts: Any, target: Target) -> Layer:
    heads, length, depth = facts
    b = Builder()
    shape = (batch, heads, length, depth)
    q, k, v = (b.input(name, shape) for name in "qkv")
    made = b.node(Attention(depth**-0.5), (q, k, v), shape, 0)
    return Layer(name, "attention", batch, b.kernel(made, (), target), facts)


def arrays_of(layer: Layer, seed: int = 0) -> dict[str, Array]:
    """Numbers for all inputs, as the operators see them (NCHW)."""
    random = np.random.default_rng(seed)
    made = {}
    for value in layer.kernel.graph.inputs:
        array = random.standard_normal(value.type.dims, np.float32)
        if value.name == "w":
            inner = value.type.dims[1:] if layer.kind == "conv" else value.type.dims[:1]
            array /= math.sqrt(math.prod(inner))
        made[value.name] = array.astype(value.type.dtype.numpy)
    return made


def physical(array: Array, type_: TensorType) -> Array:
    """The array as it lies: NHWC with NaN in the lanes past the channels, or as it is."""
    if not type_.block:
        return np.ascontiguousarray(array)
    made = np.full(type_.physical, np.nan, array.dtype)
    made[:, 0, ..., : array.shape[1]] = np.moveaxis(array, 1, -1)
    return made


def logical(array: Array, type_: TensorType) -> Array:
    if not type_.block:
        return array.reshape(type_.dims)
    lanes = array.reshape(type_.physical)[:, 0, ..., : type_.dims[1]]
    return np.moveaxis(lanes, -1, 1)
