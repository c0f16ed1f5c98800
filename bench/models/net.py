"""A small builder of ONNX models with random weights whose activations stay sane at any depth.

Every tensor carries an estimate of its variance, by hand-propagation instead of measurement:
filters are He-initialised and sum to zero, so a common mean of the inputs (what ReLU leaves behind)
cancels, and a batch norm divides by the variance estimated for its input. Deep nets of this kind
neither die nor explode, and their outputs depend on their inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

# variance of f(x) for x ~ N(0, 1), by numerical integration
ACTIVATION_VARIANCE = {"relu": 0.341, "relu6": 0.341, "leaky": 0.376, "silu": 0.313, "gelu": 0.346}
# by how much a max pool raises the variance that a convolution after it sees; measured in U-Net
MAX_POOL_GAIN = 1.6


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the graph: its name, its static shape, its estimated variance."""

    name: str
    shape: tuple[int, ...]
    variance: float = 1.0

    @property
    def channels(self) -> int:
        """The size of axis 1, the channels of an image batch."""
        return self.shape[1]


class Net:
    """An ONNX graph under construction; `model` closes it."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._highs: dict[str, str] = {}
        self._count: dict[str, int] = {}

    # ---- the graph

    def input(self, name: str, shape: Sequence[int], variance: float = 1.0) -> Tensor:
        """A float32 input; the variance is that of the data it will be given."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return Tensor(name, tuple(shape), variance)

    def integer_input(self, name: str, shape: Sequence[int], high: int) -> Tensor:
        """An int64 input with values in [0, high); the bound travels in the model's metadata."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, list(shape)))
        self._highs[f"high:{name}"] = str(high)
        return Tensor(name, tuple(shape))

    def output(self, x: Tensor, name: str, dtype: int = TensorProto.FLOAT) -> None:
        """Make x an output called name."""
        self._nodes.append(helper.make_node("Identity", [x.name], [name], name=f"out/{name}"))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, list(x.shape)))

    def const(self, array: npt.ArrayLike, hint: str = "const") -> Tensor:
        """An initializer. Python floats become float32, Python ints int64."""
        value = np.asarray(array)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        name = self._fresh(hint)
        self._weights[name] = numpy_helper.from_array(value, name)
        return Tensor(name, value.shape)

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        variance: float | None = None,
        **attributes: Any,
    ) -> Tensor:
        """A node with one output of the given shape; variance defaults to the first input's."""
        return self.split_op(kind, inputs, [shape], variance, **attributes)[0]

    def split_op(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[Sequence[int]],
        variance: float | None = None,
        **attributes: Any,
    ) -> list[Tensor]:
        """A node with one output per shape; None stands for an input left out."""
        name = self._fresh(kind.lower())
        outputs = [f"{name}_out{i}" if i else f"{name}_out" for i in range(len(shapes))]
        sources = [x.name if x is not None else "" for x in inputs]
        self._nodes.append(helper.make_node(kind, sources, outputs, name=name, **attributes))
        if variance is None:
            variance = next((x.variance for x in inputs if x is not None), 1.0)
        return [Tensor(o, tuple(s), variance) for o, s in zip(outputs, shapes, strict=True)]

    def model(self) -> ModelProto:
        """The finished model."""
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._weights.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="planck-bench",
        )
        helper.set_model_props(model, self._highs)
        return model

    def _fresh(self, hint: str) -> str:
        index = self._count[hint] = self._count.get(hint, -1) + 1
        return f"{hint}_{index}"

    # ---- layers with weights

    def normal(self, shape: Sequence[int], std: float) -> npt.NDArray[np.float32]:
        """Random normal numbers, f32[shape]."""
        return self.rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(std)

    def filters(self, shape: Sequence[int], fan_axes: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """He-initialised weights that sum to zero over their fan-in."""
        fan_in = math.prod(shape[a] for a in fan_axes)
        weights = self.normal(shape, math.sqrt(2.0 / fan_in))
        if fan_in > 1:
            weights -= weights.mean(axis=fan_axes, keepdims=True)
            weights *= np.float32(math.sqrt(fan_in / (fan_in - 1)))
        return weights

    def conv(
        self,
        x: Tensor,
        channels: int,
        size: int | tuple[int, int] = 3,
        stride: int = 1,
        pad: int | tuple[int, int] | None = None,
        groups: int = 1,
        bias: bool = False,
        gain: float = 1.0,
    ) -> Tensor:
        """A 2-d convolution, padded by size // 2 where not told otherwise.

        size, pad: of both axes, or (down, along)
        gain:      what He's weights are multiplied by
        """
        n, c, h, w = x.shape
        size = (size, size) if isinstance(size, int) else size
        pad = (size[0] // 2, size[1] // 2) if pad is None else pad
        pad = (pad, pad) if isinstance(pad, int) else pad
        filters = self.filters((channels, c // groups, *size), (1, 2, 3)) * np.float32(gain)
        weights = [self.const(filters, "w")]
        if bias:
            weights.append(self.const(self.normal((channels,), 0.1), "b"))
        out_h, out_w = (
            (d + 2 * p - s) // stride + 1 for d, p, s in zip((h, w), pad, size, strict=True)
        )
        return self.op(
            "Conv",
            [x, *weights],
            (n, channels, out_h, out_w),
            2.0 * gain * gain * x.variance,
            kernel_shape=list(size),
            strides=[stride, stride],
            pads=[*pad, *pad],
            dilations=[1, 1],
            group=groups,
        )

    def conv_transpose(self, x: Tensor, channels: int, size: int = 2, stride: int = 2) -> Tensor:
        """A square 2-d transposed convolution without padding, with a bias."""
        n, c, h, w = x.shape
        weights = self.filters((c, channels, size, size), (0,))
        bias = self.const(self.normal((channels,), 0.1), "b")
        shape = (n, channels, (h - 1) * stride + size, (w - 1) * stride + size)
        return self.op(
            "ConvTranspose",
            [x, self.const(weights, "w"), bias],
            shape,
            2.0 * x.variance,
            kernel_shape=[size, size],
            strides=[stride, stride],
        )

    def batch_norm(self, x: Tensor, epsilon: float = 1e-5, gain: float = 1.0) -> Tensor:
        """Batch norm by `statistics`; gain is the standard deviation of its output."""
        names = ("gamma", "beta", "mean", "var")
        arrays = self.statistics(x, gain)
        inputs = [x, *(self.const(a, n) for a, n in zip(arrays, names, strict=True))]
        return self.op("BatchNormalization", inputs, x.shape, gain * gain, epsilon=epsilon)

    def statistics(self, x: Tensor, gain: float = 1.0) -> tuple[npt.NDArray[np.float32], ...]:
        """Gamma, beta, mean, variance, f32[C] each: what is expected of x, give or take a tenth."""
        shape = (x.channels,)
        gamma = gain * (1 + np.clip(self.normal(shape, 0.1), -0.3, 0.3))
        beta = self.normal(shape, 0.1 * gain)
        mean = self.normal(shape, 0.1 * math.sqrt(x.variance))
        variance = x.variance * np.exp(self.normal(shape, 0.1))
        return tuple(a.astype(np.float32) for a in (gamma, beta, mean, variance))

    def linear(self, x: Tensor, features: int, bias: bool = True) -> Tensor:
        """MatMul and Add over the last axis, as exporters write nn.Linear on 3-d inputs."""
        weights = self.normal((x.shape[-1], features), 1.0 / math.sqrt(x.shape[-1]))
        y = self.op("MatMul", [x, self.const(weights, "w")], (*x.shape[:-1], features))
        if not bias:
            return y
        return self.op("Add", [self.const(self.normal((features,), 0.05), "b"), y], y.shape)

    def gemm(self, x: Tensor, features: int) -> Tensor:
        """Gemm with transB, as exporters write nn.Linear on 2-d inputs; unit variance out."""
        filters = self.filters((features, x.shape[1]), (1,)) / math.sqrt(2.0 * x.variance)
        weights = self.const(filters.astype(np.float32), "w")
        bias = self.const(self.normal((features,), 0.1), "b")
        return self.op("Gemm", [x, weights, bias], (x.shape[0], features), 1.0, transB=1)

    # ---- layers without weights

    def activation(self, x: Tensor, kind: str) -> Tensor:
        """relu, relu6 (as Clip), leaky (slope 0.1), silu (as Sigmoid and Mul), gelu (by Erf)."""
        variance = x.variance * ACTIVATION_VARIANCE[kind]
        if kind == "relu":
            return self.op("Relu", [x], x.shape, variance)
        if kind == "relu6":
            bounds = [self.const(np.float32(0.0), "low"), self.const(np.float32(6.0), "high")]
            return self.op("Clip", [x, *bounds], x.shape, variance)
        if kind == "leaky":
            return self.op("LeakyRelu", [x], x.shape, variance, alpha=0.1)
        if kind == "silu":
            return self.op("Mul", [x, self.op("Sigmoid", [x], x.shape)], x.shape, variance)
        scaled = self.op("Div", [x, self.const(np.float32(math.sqrt(2.0)))], x.shape)
        erf = self.op("Erf", [scaled], x.shape)
        shifted = self.op("Add", [erf, self.const(np.float32(1.0))], x.shape)
        product = self.op("Mul", [x, shifted], x.shape)
        return self.op("Mul", [product, self.const(np.float32(0.5))], x.shape, variance)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b of the same shape."""
        return self.op("Add", [a, b], a.shape, a.variance + b.variance)

    def concat(self, parts: Sequence[Tensor], axis: int = 1) -> Tensor:
        """The parts joined along axis."""
        shape = list(parts[0].shape)
        shape[axis] = sum(p.shape[axis] for p in parts)
        variance = sum(p.variance * p.shape[axis] for p in parts) / shape[axis]
        return self.op("Concat", parts, shape, variance, axis=axis)

    def max_pool(
        self, x: Tensor, size: int, stride: int, pad: int = 0, ceil_mode: bool = False
    ) -> Tensor:
        """A square 2-d max pool; ceil_mode keeps a last window that hangs over the edge."""
        n, c, h, w = x.shape
        extra = stride - 1 if ceil_mode else 0
        out_h, out_w = ((d + 2 * pad - size + extra) // stride + 1 for d in (h, w))
        return self.op(
            "MaxPool",
            [x],
            (n, c, out_h, out_w),
            x.variance * MAX_POOL_GAIN,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[pad] * 4,
            ceil_mode=int(ceil_mode),
        )

    def average_pool(self, x: Tensor, size: int, stride: int, pad: int = 0) -> Tensor:
        """A square 2-d average pool that counts the padding, as PyTorch does by default."""
        n, c, h, w = x.shape
        out_h, out_w = ((d + 2 * pad - size) // stride + 1 for d in (h, w))
        return self.op(
            "AveragePool",
            [x],
            (n, c, out_h, out_w),
            x.variance / 2,  # neighbours are alike: less falls away than by averaging noise
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[pad] * 4,
            count_include_pad=1,
        )

    def upsample(self, x: Tensor, factor: int = 2) -> Tensor:
        """Nearest-neighbour Resize, with the attributes that PyTorch's exporter writes."""
        n, c, h, w = x.shape
        scales = self.const(np.array([1, 1, factor, factor], np.float32), "scales")
        return self.op(
            "Resize",
            [x, None, scales],
            (n, c, h * factor, w * factor),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
            cubic_coeff_a=-0.75,
        )

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshape to a constant shape without -1."""
        return self.op("Reshape", [x, self.const(np.array(shape, np.int64), "shape")], shape)

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        """Transpose by perm."""
        return self.op("Transpose", [x], [x.shape[p] for p in perm], perm=list(perm))

    def split(self, x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
        """Split along axis into the given sizes."""
        shapes = [(*x.shape[:axis], s, *x.shape[axis + 1 :]) for s in sizes]
        return self.split_op(
            "Split", [x, self.const(np.array(sizes, np.int64), "sizes")], shapes, axis=axis
        )

    def pool_and_classify(self, x: Tensor, classes: int) -> Tensor:
        """GlobalAveragePool, Flatten, Gemm: the end of most classifiers."""
        n, c, _, _ = x.shape
        pooled = self.op("GlobalAveragePool", [x], (n, c, 1, 1))
        return self.gemm(self.op("Flatten", [pooled], (n, c), axis=1), classes)
