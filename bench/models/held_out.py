"""Classifiers that no work on Planck is measured by: VGG-16, Inception v3, RegNetY-400MF.

They answer whether what was won on the other models holds elsewhere, so nothing is ever changed for
their sake. Sources: Simonyan and Zisserman 2014 (configuration D); Szegedy et al. 2015, with the
layout of PyTorch's torchvision; Radosavovic et al. 2020 (RegNetY-400MF, as torchvision has it).
"""

from __future__ import annotations

from onnx import ModelProto

from bench.models.classify import IMAGE_VARIANCE
from bench.models.net import Net, Tensor

Size = int | tuple[int, int]


def vgg16(batch: int, small: bool) -> ModelProto:
    """VGG-16: f32[N, 3, 224, 224] -> f32[N, 1000]; small: an eighth of the width, 32 pixels."""
    divisor, side = (8, 32) if small else (1, 224)
    net = Net("vgg16", seed=16)
    x = net.input("input", (batch, 3, side, side), IMAGE_VARIANCE)
    for depth, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(depth):
            x = net.activation(net.conv(x, channels // divisor, bias=True), "relu")
        x = net.max_pool(x, 2, 2)
    n, c, h, w = x.shape
    x = net.op("Flatten", [x], (n, c * h * w), axis=1)
    for _ in range(2):
        x = net.activation(net.gemm(x, 4096 // divisor), "relu")
    net.output(net.gemm(x, 10 if small else 1000), "output")
    return net.model()


def inception_v3(batch: int, small: bool) -> ModelProto:
    """Inception v3: f32[N, 3, 299, 299] -> f32[N, 1000]; small: a quarter wide, 107 pixels."""
    part, side = (4, 107) if small else (1, 299)
    net = Net("inception_v3", seed=3)

    def layer(x: Tensor, channels: int, size: Size = 1, stride: int = 1, pad: Size = 0) -> Tensor:
        y = net.conv(x, channels // part, size, stride, pad)
        return net.activation(net.batch_norm(y, epsilon=1e-3), "relu")

    def chain(x: Tensor, *layers: tuple[int, Size, Size]) -> Tensor:
        for channels, size, pad in layers:
            x = layer(x, channels, size, pad=pad)
        return x

    def pooled(x: Tensor, channels: int) -> Tensor:
        return layer(net.average_pool(x, 3, 1, 1), channels)

    def block_a(x: Tensor, channels: int) -> Tensor:
        fives = chain(x, (48, 1, 0), (64, 5, 2))
        threes = chain(x, (64, 1, 0), (96, 3, 1), (96, 3, 1))
        return net.concat([layer(x, 64), fives, threes, pooled(x, channels)])

    def block_b(x: Tensor) -> Tensor:
        double = layer(chain(x, (64, 1, 0), (96, 3, 1)), 96, 3, 2)
        return net.concat([layer(x, 384, 3, 2), double, net.max_pool(x, 3, 2)])

    def block_c(x: Tensor, c: int) -> Tensor:
        row, column = ((1, 7), (0, 3)), ((7, 1), (3, 0))
        once = chain(x, (c, 1, 0), (c, *row), (192, *column))
        twice = chain(x, (c, 1, 0), (c, *column), (c, *row), (c, *column), (192, *row))
        return net.concat([layer(x, 192), once, twice, pooled(x, 192)])

    def block_d(x: Tensor) -> Tensor:
        left = layer(layer(x, 192), 320, 3, 2)
        row, column = ((1, 7), (0, 3)), ((7, 1), (3, 0))
        right = layer(chain(x, (192, 1, 0), (192, *row), (192, *column)), 192, 3, 2)
        return net.concat([left, right, net.max_pool(x, 3, 2)])

    def block_e(x: Tensor) -> Tensor:
        def fork(y: Tensor) -> Tensor:
            return net.concat(
                [layer(y, 384, (1, 3), pad=(0, 1)), layer(y, 384, (3, 1), pad=(1, 0))]
            )

        double = chain(x, (448, 1, 0), (384, 3, 1))
        return net.concat([layer(x, 320), fork(layer(x, 384)), fork(double), pooled(x, 192)])

    x = net.input("input", (batch, 3, side, side), IMAGE_VARIANCE)
    x = layer(layer(layer(x, 32, 3, 2), 32, 3), 64, 3, pad=1)
    x = layer(layer(net.max_pool(x, 3, 2), 80), 192, 3)
    x = net.max_pool(x, 3, 2)
    for channels in (32, 64, 64):
        x = block_a(x, channels)
    x = block_b(x)
    for channels in (128, 160, 160, 192):
        x = block_c(x, channels)
    x = block_e(block_e(block_d(x)))
    net.output(net.pool_and_classify(x, 10 if small else 1000), "output")
    return net.model()


def regnet_y_400mf(batch: int, small: bool) -> ModelProto:
    """RegNetY-400MF: f32[N, 3, 224, 224] -> f32[N, 1000]; small: fewer blocks, 64 pixels."""
    depths, side = ((1, 1, 2, 1), 64) if small else ((1, 3, 6, 6), 224)
    net = Net("regnet_y_400mf", seed=400)
    x = net.input("input", (batch, 3, side, side), IMAGE_VARIANCE)
    x = net.activation(net.batch_norm(net.conv(x, 32, 3, 2)), "relu")
    for depth, channels in zip(depths, (48, 104, 208, 440), strict=True):
        for block in range(depth):
            x = _regnet_block(net, x, channels, 1 if block else 2)
    net.output(net.pool_and_classify(x, 10 if small else 1000), "output")
    return net.model()


def _regnet_block(net: Net, x: Tensor, channels: int, stride: int) -> Tensor:
    """1x1, 3x3 in groups of 8 channels, squeeze and excite, 1x1; added to a projection of x."""
    y = net.activation(net.batch_norm(net.conv(x, channels, 1)), "relu")
    y = net.conv(y, channels, 3, stride, groups=channels // 8)
    y = net.activation(net.batch_norm(y), "relu")
    n, c, _, _ = y.shape
    z = net.op("GlobalAveragePool", [y], (n, c, 1, 1))
    z = net.activation(net.conv(z, round(x.channels / 4), 1, bias=True), "relu")
    z = net.conv(z, channels, 1, bias=True)
    z = net.op("Sigmoid", [z], z.shape)
    y = net.op("Mul", [y, z], y.shape, y.variance / 4)
    y = net.batch_norm(net.conv(y, channels, 1), gain=0.7)
    if stride == 2:
        x = net.batch_norm(net.conv(x, channels, 1, stride), gain=0.7)
    return net.activation(net.add(y, x), "relu")
