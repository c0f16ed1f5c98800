"""Blocks of networks that are not in bench.models, as PyTorch's exporter writes them, tiny.

Each ends with how many kernels an engineer would expect of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from bench.models.net import Net, Tensor


def layer_norm(net: Net, x: Tensor) -> Tensor:
    scale, bias = (net.const(at + net.normal((x.shape[-1],), 0.1)) for at in (1, 0))
    return net.op("LayerNormalization", [x, scale, bias], x.shape, axis=-1, epsilon=1e-6)


def mean(net: Net, x: Tensor, axis: int) -> Tensor:
    shape = list(x.shape)
    shape[axis] = 1
    return net.op("ReduceMean", [x], shape, axes=[axis], keepdims=1)


def power(net: Net, x: Tensor, exponent: float) -> Tensor:
    return net.op("Pow", [x, net.const(np.float32(exponent))], x.shape)


def plus(net: Net, x: Tensor, number: float) -> Tensor:
    return net.op("Add", [x, net.const(np.float32(number))], x.shape)


def convnext(net: Net) -> Tensor:
    """Layer norms by hand over channels, and of pixels in rows, around a depthwise 7x7."""
    x = net.conv(net.input("x", (2, 3, 16, 12)), 16, 4, 4, pad=0)
    centred = net.op("Sub", [x, mean(net, x, 1)], x.shape)
    spread = net.op("Sqrt", [plus(net, mean(net, power(net, centred, 2), 1), 1e-6)], (2, 1, 4, 3))
    normal = net.op("Div", [centred, spread], x.shape)
    x = net.op("Mul", [net.const(1 + net.normal((16, 1, 1), 0.1)), normal], x.shape)
    x = net.op("Add", [x, net.const(net.normal((16, 1, 1), 0.1))], x.shape)
    y = net.transpose(net.conv(x, 16, 7, groups=16), (0, 2, 3, 1))
    y = net.linear(net.activation(net.linear(layer_norm(net, y), 32), "gelu"), 16)
    return net.conv(net.add(x, net.transpose(y, (0, 3, 1, 2))), 24, 2, 2, pad=0)


def shufflenet(net: Net) -> Tensor:
    """Two units whose channels are shuffled and halved."""
    x = net.conv(net.input("x", (2, 3, 8, 12)), 32, 3, 2)
    for _ in range(2):
        still, y = net.split(x, (16, 16), 1)
        y = net.conv(net.activation(net.conv(y, 16, 1), "relu"), 16, 3, groups=16)
        x = net.concat([still, net.activation(net.conv(y, 16, 1), "relu")])
        x = net.reshape(net.transpose(net.reshape(x, (2, 2, 16, 4, 6)), (0, 2, 1, 3, 4)), x.shape)
    return net.conv(x, 8, 1)


def densenet(net: Net) -> Tensor:
    """A scale, a shift and a ReLU of all that was made so far, in front of each convolution."""
    x = net.conv(net.input("x", (1, 3, 8, 12)), 16, 3, 2)
    for _ in range(2):
        y = net.activation(net.batch_norm(x), "relu")
        x = net.concat([x, net.conv(y, 8)])
    return net.conv(net.activation(net.batch_norm(x), "relu"), 8, 1)


def heads(net: Net, x: Tensor, count: int) -> Tensor:
    n, length, width = x.shape
    return net.transpose(net.reshape(x, (n, length, count, width // count)), (0, 2, 1, 3))


def halves(net: Net, x: Tensor) -> Tensor:
    """[-x[..., h:], x[..., :h]]"""
    half = x.shape[-1] // 2
    parts = [
        net.op("Slice", [x, *(net.const([n]) for n in (at, at + half, 3))], (*x.shape[:-1], half))
        for at in (0, half)
    ]
    return net.concat([net.op("Neg", [parts[1]], parts[1].shape), parts[0]], 3)


def rotary(net: Net, x: Tensor) -> Tensor:
    angles = np.arange(x.shape[2])[:, None] * 10.0 ** -np.arange(x.shape[3] // 2)[None]
    both = np.concatenate([angles, angles], 1)[None, None]
    straight = net.op("Mul", [x, net.const(np.cos(both))], x.shape)
    return net.add(straight, net.op("Mul", [halves(net, x), net.const(np.sin(both))], x.shape))


def repeated(net: Net, x: Tensor, times: int) -> Tensor:
    n, groups, length, depth = x.shape
    y = net.op("Unsqueeze", [x, net.const([2])], (n, groups, 1, length, depth))
    shape = (n, groups, times, length, depth)
    y = net.op("Expand", [y, net.const(np.array(shape))], shape)
    return net.reshape(y, (n, groups * times, length, depth))


def attend(net: Net, q: Tensor, k: Tensor, v: Tensor, hide: Callable[[Tensor], Tensor]) -> Tensor:
    n, count, length, depth = q.shape
    scores = net.op("MatMul", [q, net.transpose(k, (0, 1, 3, 2))], (n, count, length, length))
    scores = net.op("Div", [scores, net.const(np.float32(depth**0.5))], scores.shape)
    weights = net.op("Softmax", [hide(scores)], scores.shape, axis=-1)
    made = net.transpose(net.op("MatMul", [weights, v], q.shape), (0, 2, 1, 3))
    return net.reshape(made, (n, length, count * depth))


def llama(net: Net) -> Tensor:
    """RMS norm, rotary embeddings, keys and values that two heads share, a causal mask."""
    x = net.input("x", (1, 9, 32))
    spread = net.op("Sqrt", [plus(net, mean(net, power(net, x, 2), 2), 1e-6)], (1, 9, 1))
    y = net.op("Div", [x, spread], x.shape)
    y = net.op("Mul", [net.const(1 + net.normal((32,), 0.1)), y], x.shape)
    q, k, v = (heads(net, net.linear(y, 8 * n, bias=False), n) for n in (4, 2, 2))
    keys = repeated(net, rotary(net, k), 2)
    mask = net.const(np.triu(np.full((9, 9), -np.inf), 1)[None, None])
    y = attend(net, rotary(net, q), keys, repeated(net, v, 2),
               lambda scores: net.op("Add", [scores, mask], scores.shape))  # fmt: skip
    return net.add(x, net.linear(y, 32, bias=False))


def gpt2(net: Net) -> Tensor:
    """Keys that a query does not see, by Where."""
    x = net.input("x", (2, 9, 32))
    q, k, v = (heads(net, part, 4) for part in net.split(net.linear(x, 96), (32, 32, 32), 2))
    seen, low = net.const(np.tri(9, dtype=bool)[None, None]), net.const(np.float32(-1e4))
    y = attend(net, q, k, v, lambda scores: net.op("Where", [seen, scores, low], scores.shape))
    return net.add(x, net.linear(y, 32))


def padded(net: Net) -> Tensor:
    """Keys behind a text's end, by Where; of the second text all."""
    x, given = net.input("x", (2, 7, 16)), net.integer_input("mask", (2, 7), 2)
    mask = net.op("Unsqueeze", [given, net.const([1, 2])], (2, 1, 1, 7))
    hidden = net.op("Equal", [mask, net.const(0)], mask.shape)
    low = net.const(np.float32(np.finfo(np.float32).min))
    q, k, v = (heads(net, net.linear(x, 16), 2) for _ in range(3))
    y = attend(net, q, k, v, lambda scores: net.op("Where", [hidden, low, scores], scores.shape))
    return net.linear(y, 16)


def rolled(net: Net, x: Tensor, by: int) -> Tensor:
    for axis in (1, 2):
        size = x.shape[axis]
        parts = []
        for begin, end in ((by % size, size), (0, by % size)):
            shape = list(x.shape)
            shape[axis] = end - begin
            ends = (net.const([n]) for n in (begin, end, axis))
            parts.append(net.op("Slice", [x, *ends], shape))
        x = net.concat(parts, axis)
    return x


def swin(net: Net) -> Tensor:
    """Windows shifted by a roll, with a bias by place and a mask by window."""
    x = net.input("x", (2, 4, 6, 16))
    y = net.reshape(rolled(net, layer_norm(net, x), 1), (2, 2, 2, 3, 2, 16))
    y = net.reshape(net.transpose(y, (0, 1, 3, 2, 4, 5)), (12, 4, 16))
    whole = net.transpose(net.reshape(net.linear(y, 48), (12, 4, 3, 2, 8)), (2, 0, 3, 1, 4))
    q, k, v = (net.op("Gather", [whole, net.const(n)], (12, 2, 4, 8), axis=0) for n in range(3))
    bias = net.const(net.normal((1, 2, 4, 4), 1.0))
    mask = net.const(np.where(net.normal((1, 6, 1, 4, 4), 1.0) > 0.5, -100.0, 0.0))

    def hide(scores: Tensor) -> Tensor:
        y = net.op("Add", [scores, bias], scores.shape)
        y = net.op("Add", [net.reshape(y, (2, 6, 2, 4, 4)), mask], (2, 6, 2, 4, 4))
        return net.reshape(y, scores.shape)

    y = net.reshape(net.linear(attend(net, q, k, v, hide), 16), (2, 2, 3, 2, 2, 16))
    y = net.reshape(net.transpose(y, (0, 1, 3, 2, 4, 5)), x.shape)
    return net.add(x, rolled(net, y, -1))


def segformer(net: Net) -> Tensor:
    """Pixels in rows between a strided and a depthwise convolution."""
    x = net.conv(net.input("x", (1, 3, 16, 12)), 16, 4, 4, pad=0)
    rows = net.transpose(net.reshape(x, (1, 16, 12)), (0, 2, 1))
    y = net.linear(layer_norm(net, rows), 32)
    y = net.reshape(net.transpose(y, (0, 2, 1)), (1, 32, 4, 3))
    y = net.activation(net.conv(y, 32, 3, groups=32), "gelu")
    y = net.linear(net.transpose(net.reshape(y, (1, 32, 12)), (0, 2, 1)), 16)
    y = net.reshape(net.transpose(net.add(rows, y), (0, 2, 1)), x.shape)
    return net.conv(y, 8)


def diffusion(net: Net) -> Tensor:
    """Group norms as PyTorch exports them: instance norms of reshaped groups."""
    x = net.conv(net.input("x", (1, 3, 8, 6)), 16)
    for _ in range(2):
        y = net.reshape(x, (1, 4, 192))
        ones, zeros = net.const(np.ones(4)), net.const(np.zeros(4))
        y = net.op("InstanceNormalization", [y, ones, zeros], y.shape, epsilon=1e-5)
        y = net.reshape(y, x.shape)
        y = net.op("Mul", [y, net.const(1 + net.normal((16, 1, 1), 0.1))], y.shape)
        y = net.op("Add", [y, net.const(net.normal((16, 1, 1), 0.1))], y.shape)
        x = net.conv(net.activation(y, "silu"), 16)
    return x


def yolox(net: Net) -> Tensor:
    """Heads of 4, 1 and 3 channels, joined, as rows of cells."""
    x = net.activation(net.conv(net.input("x", (1, 3, 16, 12)), 16, 3, 4), "silu")
    boxes, score, kinds = net.conv(x, 4, 1), net.conv(x, 1, 1), net.conv(x, 3, 1)
    parts = [boxes, *(net.op("Sigmoid", [v], v.shape) for v in (score, kinds))]
    return net.transpose(net.reshape(net.concat(parts), (1, 8, 12)), (0, 2, 1))


def response(net: Net) -> Tensor:
    """ConvNeXt V2's global response norm: factors by channel, of the whole image."""
    y = net.linear(net.input("x", (1, 4, 6, 16)), 64)
    size = net.op("ReduceL2", [y], (1, 1, 1, 64), axes=[1, 2], keepdims=1)
    factor = net.op("Div", [size, plus(net, mean(net, size, 3), 1e-6)], size.shape)
    z = net.op("Mul", [y, factor], y.shape)
    z = net.op("Mul", [z, net.const(net.normal((1, 1, 1, 64), 0.3))], y.shape)
    return net.linear(net.add(z, y), 16)


# block, kernels in float16
UNSEEN: tuple[tuple[Callable[[Net], Tensor], int], ...] = (
    (convnext, 7), (shufflenet, 12), (densenet, 7), (llama, 6), (gpt2, 4), (padded, 5),
    (swin, 6), (segformer, 6), (diffusion, 7), (yolox, 5), (response, 7),
)  # fmt: skip


def model(block: Callable[[Net], Tensor]) -> ModelProto:
    net = Net(block.__name__, seed=3)
    net.output(block(net), "y")
    return net.model()
