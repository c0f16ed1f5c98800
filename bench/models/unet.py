"""A small U-Net for segmentation (Ronneberger et al. 2015), padded, with batch norms."""

from __future__ import annotations

from onnx import ModelProto

from bench.models.net import Net, Tensor


def unet(batch: int, small: bool) -> ModelProto:
    """U-Net: f32[N, 3, 256, 256] -> f32[N, 2, 256, 256] scores; small: 4 wide, 48 x 64 pixels."""
    width, height, side = (4, 48, 64) if small else (32, 256, 256)
    net = Net("unet", seed=3)
    x = _double(net, net.input("input", (batch, 3, height, side), 1 / 12), width)
    skips = []
    for level in range(1, 5):
        skips.append(x)
        x = _double(net, net.max_pool(x, 2, 2), width << level)
    for skip in reversed(skips):
        x = net.conv_transpose(x, skip.channels)
        x = _double(net, net.concat([skip, x]), skip.channels)
    net.output(net.conv(x, 2, 1, bias=True), "output")
    return net.model()


def _double(net: Net, x: Tensor, channels: int) -> Tensor:
    for _ in range(2):
        x = net.activation(net.batch_norm(net.conv(x, channels, 3)), "relu")
    return x
