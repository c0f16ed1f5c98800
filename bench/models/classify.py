"""Image classifiers: ResNet-50, MobileNetV2, SqueezeNet 1.1.

Sources: He et al. 2015 (stride in the 3x3, as PyTorch does), Sandler et al. 2018, Iandola et al.
2016 (the 1.1 layout of the authors' repository).
"""

from __future__ import annotations

from dataclasses import replace

from onnx import ModelProto

from bench.models.net import Net, Tensor

IMAGE_VARIANCE = 1 / 12  # inputs are uniform in 0..1


def resnet50(batch: int, small: bool) -> ModelProto:
    """ResNet-50: f32[N, 3, 224, 224] -> f32[N, 1000]; small: an eighth of the width, 64 pixels."""
    width, side, depths = (8, 64, (2, 2, 2, 2)) if small else (64, 224, (3, 4, 6, 3))
    net = Net("resnet50", seed=50)
    x = net.input("input", (batch, 3, side, side), IMAGE_VARIANCE)
    x = net.activation(net.batch_norm(net.conv(x, width, 7, 2)), "relu")
    x = net.max_pool(x, 3, 2, 1)
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            x = _bottleneck(net, x, width << stage, stride, project=not block)
    net.output(net.pool_and_classify(x, 10 if small else 1000), "output")
    return net.model()


def _bottleneck(net: Net, x: Tensor, width: int, stride: int, project: bool) -> Tensor:
    y = net.activation(net.batch_norm(net.conv(x, width, 1)), "relu")
    y = net.activation(net.batch_norm(net.conv(y, width, 3, stride)), "relu")
    y = net.batch_norm(net.conv(y, 4 * width, 1), gain=0.7)
    if project:
        x = net.batch_norm(net.conv(x, 4 * width, 1, stride), gain=0.7)
        return net.activation(net.add(y, x), "relu")
    # x is positive here, so the ReLU clips little: what it leaves is nearer the sum than half of it
    variance = x.variance + 0.7 * y.variance
    return replace(net.activation(net.add(y, x), "relu"), variance=variance)


def mobilenet_v2(batch: int, small: bool) -> ModelProto:
    """MobileNetV2 1.0: f32[N, 3, 224, 224] -> f32[N, 1000]; small: a quarter wide, 64 pixels."""
    divisor, side = (4, 64) if small else (1, 224)
    # (expansion, channels, blocks, stride), table 2 of the paper
    rows = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    net = Net("mobilenet_v2", seed=2)
    x = net.input("input", (batch, 3, side, side), IMAGE_VARIANCE)
    x = net.activation(net.batch_norm(net.conv(x, 32 // divisor, 3, 2)), "relu6")
    for expansion, channels, blocks, stride in rows:
        for block in range(blocks):
            step = stride if block == 0 else 1
            x = _inverted_residual(net, x, expansion, channels // divisor, step)
    x = net.activation(net.batch_norm(net.conv(x, 1280 // divisor, 1)), "relu6")
    net.output(net.pool_and_classify(x, 10 if small else 1000), "output")
    return net.model()


def _inverted_residual(net: Net, x: Tensor, expansion: int, channels: int, stride: int) -> Tensor:
    y, hidden = x, x.channels * expansion
    if expansion != 1:
        y = net.activation(net.batch_norm(net.conv(y, hidden, 1)), "relu6")
    y = net.activation(net.batch_norm(net.conv(y, hidden, 3, stride, groups=hidden)), "relu6")
    y = net.batch_norm(net.conv(y, channels, 1))
    return net.add(x, y) if y.shape == x.shape else y


def squeezenet(batch: int, small: bool) -> ModelProto:
    """SqueezeNet 1.1: f32[N, 3, 224, 224] -> f32[N, 1000]; small: a quarter wide, 64 pixels."""
    divisor, side = (4, 65) if small else (1, 224)
    net = Net("squeezenet", seed=11)
    x = net.input("input", (batch, 3, side, side), IMAGE_VARIANCE)
    x = net.activation(net.conv(x, 64 // divisor, 3, 2, pad=0, bias=True), "relu")
    # squeeze widths between the three pools; a fire module expands to 4 + 4 times its squeeze
    for squeezes in ((16, 16), (32, 32), (48, 48, 64, 64)):
        x = net.max_pool(x, 3, 2, ceil_mode=True)
        for squeeze in squeezes:
            x = _fire(net, x, squeeze // divisor)
    x = net.op("Dropout", [x], x.shape)
    x = net.activation(net.conv(x, 10 if small else 1000, 1, bias=True), "relu")
    n, c, _, _ = x.shape
    x = net.op("GlobalAveragePool", [x], (n, c, 1, 1))
    net.output(net.op("Flatten", [x], (n, c), axis=1), "output")
    return net.model()


def _fire(net: Net, x: Tensor, squeeze: int) -> Tensor:
    x = net.activation(net.conv(x, squeeze, 1, bias=True), "relu")
    left = net.activation(net.conv(x, 4 * squeeze, 1, bias=True), "relu")
    right = net.activation(net.conv(x, 4 * squeeze, 3, bias=True), "relu")
    return net.concat([left, right])
