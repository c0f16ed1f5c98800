"""Drawer: the network while it is drawn, layer after layer, and Darknet's activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from planck.dtypes import Array, from_numpy
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.darknet.cfg import Section
from planck.frontends.darknet.weights import WeightsFile
from planck.ir.graph import Namer, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.pointwise import Pointwise

LEAKY_SLOPE: Final = 0.1  # src/activations.h, leaky_activate
MAX_ELEMENTS: Final = 1 << 28  # of one feature map: a gigabyte of float32

ACTIVATIONS: Final[Mapping[str, tuple[str, tuple[float, ...]]]] = {
    "leaky": ("leaky_relu", (LEAKY_SLOPE,)),
    "relu": ("relu", ()),
    "relu6": ("min", (6.0,)),
    "logistic": ("sigmoid", ()),
    "tanh": ("tanh", ()),
    "mish": ("mish", ()),
    "swish": ("silu", ()),
    "elu": ("elu", (1.0,)),
    "selu": ("selu", (1.6732, 1.0507)),
    "gelu": ("gelu_tanh", ()),
}


class Drawer:
    """The network as it is drawn, layer after layer.

    layers:  what each layer gave, by number, for route and shortcut
    x:       what the last layer gave
    """

    def __init__(self, name: str, weights: WeightsFile) -> None:
        self.name, self.file = name, weights
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}
        self.layers: list[Value] = []
        self.detections: list[Value] = []
        self.namer = Namer()
        self.section = Section("net", 1, name)
        self.size = (0, 0)
        self.x: Value

    def const(self, array: Array | float, hint: str = "c") -> Value:
        array = np.asarray(array, np.float32)
        name = self.namer(f"l{self.section.number}_{hint}")
        self.weights[name] = array
        return Value(name, TensorType(array.shape, from_numpy(array.dtype)))

    def take(self, shape: tuple[int, ...], what: str) -> Array:
        """Numbers of the weights file. raises: ModelFormatError naming this layer"""
        if int(np.prod(shape, dtype=np.int64)) > MAX_ELEMENTS:
            raise ModelFormatError(f"the {what} of this layer are too large", at=self.section.at)
        return self.file.take(shape, what, self.section.at)

    def emit(self, op: Op, *inputs: Value) -> Value:
        """A node of one output. raises: ModelFormatError where the operator refuses the shapes"""
        try:
            (type_,) = op.infer(*(v.type for v in inputs))
        except ShapeError as error:
            raise ModelFormatError(error.what, at=self.section.at, know=error.know) from error
        if type_.size > MAX_ELEMENTS or 0 in type_.dims:
            raise ModelFormatError(f"a feature map of {type_} makes no sense", at=self.section.at)
        kind = self.section.kind
        out = Value(self.namer(f"l{self.section.number}_{kind}"), type_)
        origin = (f"{self.name}:{self.section.number}/{kind}",)
        self.nodes.append(Node(op, inputs, (out,), origin))
        return out

    def pointwise(self, fn: str, *inputs: Value | float) -> Value:
        values = [self.const(v, fn) if isinstance(v, float) else v for v in inputs]
        return self.emit(Pointwise(fn), *values)

    def activate(self, x: Value, name: str) -> Value:
        if name == "linear":
            return x
        if name not in ACTIVATIONS:
            raise ModelFormatError(
                f"activation={name} is not known",
                at=self.section.at,
                know=f"known are linear, {', '.join(ACTIVATIONS)}",
            )
        fn, parameters = ACTIVATIONS[name]
        if name == "relu6":
            x = self.pointwise("relu", x)
        return self.pointwise(fn, x, *parameters)

    def layer(self, number: int) -> Value:
        """What an earlier layer gave; negative numbers count back from this one."""
        absolute = number + self.section.number if number < 0 else number
        if not 0 <= absolute < len(self.layers):
            raise ModelFormatError(
                f"layer {number} is not one of the {len(self.layers)} before this",
                at=self.section.at,
            )
        return self.layers[absolute]
