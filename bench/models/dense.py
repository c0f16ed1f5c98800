"""Models without convolutions: a bidirectional LSTM and a multilayer perceptron."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from bench.models.net import Net, Tensor


def lstm(batch: int, small: bool) -> ModelProto:
    """Two bidirectional LSTM layers and a linear one: f32[N, 32, 128] -> f32[N, 32, 64].

    small: 16 wide, 5 steps.
    """
    steps, features, hidden, out = (5, 16, 16, 7) if small else (32, 128, 256, 64)
    net = Net("lstm", seed=7)
    x = net.input("input", (batch, steps, features))
    x = net.transpose(x, (1, 0, 2))
    for _ in range(2):
        x = _bidirectional(net, x, hidden)
    x = net.transpose(x, (1, 0, 2))
    net.output(net.linear(x, out), "output")
    return net.model()


def _bidirectional(net: Net, x: Tensor, hidden: int) -> Tensor:
    steps, batch, features = x.shape
    # sqrt(3): as wide as PyTorch's uniform initialisation, times three for livelier gates
    std = (3.0 / hidden) ** 0.5
    weights = [
        net.const(net.normal((2, 4 * hidden, features), std), "w"),
        net.const(net.normal((2, 4 * hidden, hidden), std / 2), "r"),
        net.const(net.normal((2, 8 * hidden), 0.1), "b"),
    ]
    zeros = net.op("ConstantOfShape", [net.const([2, batch, hidden])], (2, batch, hidden))
    y, _, _ = net.split_op(
        "LSTM",
        [x, *weights, None, zeros, zeros],
        [(steps, 2, batch, hidden), (2, batch, hidden), (2, batch, hidden)],
        hidden_size=hidden,
        direction="bidirectional",
    )
    y = net.transpose(y, (0, 2, 1, 3))
    shape = net.const(np.array([0, 0, -1]), "shape")
    return net.op("Reshape", [y, shape], (steps, batch, 2 * hidden))


def mlp(batch: int, small: bool) -> ModelProto:
    """784-1024-1024-10 with ReLU: f32[N, 784] -> f32[N, 10]; small: 17-32-32-10."""
    features, hidden = (17, 32) if small else (784, 1024)
    net = Net("mlp", seed=4)
    x = net.input("input", (batch, features))
    for _ in range(2):
        x = net.activation(net.gemm(x, hidden), "relu")
    net.output(net.gemm(x, 10), "output")
    return net.model()
