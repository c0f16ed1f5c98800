"""Speed of single kernels by layer and configuration: GFLOP/s and per cent of the measured peak.

python -m bench.kernels [--isa avx2] [--offers 3] [name part ...]
"""

from __future__ import annotations

import argparse
import time
from typing import Final

import numpy as np

from planck.codegen.llvm import compile_object
from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.nn import Conv, MatMul, Pool
from planck.ops.pointwise import Pointwise
from planck.refusal import No
from planck.tactics import TACTICS
from planck.tactics.kernel import Config, Kernel, Operand, Tactic
from planck.target import Target, resolve
from planck.tune.limits import measure_limits
from planck.tune.measure import measure

# input channels, outputs, height, width, filter, stride, groups
CONVOLUTIONS: Final = {
    "resnet stem 7x7/2": (3, 64, 224, 224, 7, 2, 1),
    "resnet 3x3 64@56": (64, 64, 56, 56, 3, 1, 1),
    "resnet 3x3 128@28": (128, 128, 28, 28, 3, 1, 1),
    "resnet 3x3 256@14": (256, 256, 14, 14, 3, 1, 1),
    "resnet 3x3 512@7": (512, 512, 7, 7, 3, 1, 1),
    "resnet 3x3/2 128@56": (128, 128, 56, 56, 3, 2, 1),
    "resnet 3x3/2 256@28": (256, 256, 28, 28, 3, 2, 1),
    "resnet 1x1 64-256@56": (64, 256, 56, 56, 1, 1, 1),
    "resnet 1x1 256-64@56": (256, 64, 56, 56, 1, 1, 1),
    "resnet 1x1 1024-256@14": (1024, 256, 14, 14, 1, 1, 1),
    "resnet 1x1 2048-512@7": (2048, 512, 7, 7, 1, 1, 1),
    "resnet 1x1/2 256-512@56": (256, 512, 56, 56, 1, 2, 1),
    "resnext 3x3 128@56 g32": (128, 128, 56, 56, 3, 1, 32),
    "yolov5s 6x6/2 stem": (3, 32, 640, 640, 6, 2, 1),
    "yolov5s 3x3/2 32-64@320": (32, 64, 320, 320, 3, 2, 1),
    "yolov5s 3x3/2 64-128@160": (64, 128, 160, 160, 3, 2, 1),
    "yolov5s 3x3/2 256-512@40": (256, 512, 40, 40, 3, 2, 1),
    "inception 5x5 48-64@35": (48, 64, 35, 35, 5, 1, 1),
    "yolov5s 1x1 64-32@160": (64, 32, 160, 160, 1, 1, 1),
    "yolov5s 3x3 32@160": (32, 32, 160, 160, 3, 1, 1),
    "yolov5s 3x3 64@80": (64, 64, 80, 80, 3, 1, 1),
    "yolov5s 3x3 256@20": (256, 256, 20, 20, 3, 1, 1),
    "yolov5s 1x1 512-255@20": (512, 255, 20, 20, 1, 1, 1),
    "mobilenet 3x3 dw 32@112": (32, 32, 112, 112, 3, 1, 32),
    "mobilenet 3x3/2 dw 96@112": (96, 96, 112, 112, 3, 2, 96),
    "mobilenet 3x3 dw 384@14": (384, 384, 14, 14, 3, 1, 384),
    "mobilenet 5x5 dw 240@28": (240, 240, 28, 28, 5, 1, 240),
    "mobilenet 1x1 16-96@112": (16, 96, 112, 112, 1, 1, 1),
    "mobilenet 1x1 384-64@14": (384, 64, 14, 14, 1, 1, 1),
}
# shape of A, shape of B, B transposed, B constant
PRODUCTS: Final = {
    "bert 128x768x768": ((128, 768), (768, 768), False, True),
    "bert 128x768x2304": ((128, 768), (768, 2304), False, True),
    "bert 128x768x3072": ((128, 768), (768, 3072), False, True),
    "bert 128x3072x768": ((128, 3072), (3072, 768), False, True),
    "vit 197x768x3072": ((197, 768), (768, 3072), False, True),
    "vit 197x3072x768": ((197, 3072), (3072, 768), False, True),
    "bert QK": ((12, 128, 64), (12, 128, 64), True, False),
    "bert PV": ((12, 128, 128), (12, 128, 64), False, False),
    "square 1024": ((1024, 1024), (1024, 1024), False, True),
    "square 1024 run-time": ((1024, 1024), (1024, 1024), False, False),
    "classifier 1x2048x1000": ((1, 2048), (2048, 1000), False, True),
    "classifier 8x2048x1000": ((8, 2048), (2048, 1000), False, True),
    "gemv 4096": ((1, 4096), (4096, 4096), False, True),
}
# channels, height, width, window, stride
POOLS: Final = {
    "maxpool 3x3/2 64@112": (64, 112, 112, 3, 2),
    "maxpool 5x5 256@20": (256, 20, 20, 5, 1),
}
Job = tuple[Kernel, float]  # and its flops


def kernel_of(
    target: Target, op: Op, shapes: list[tuple[int, ...]], constants: int, blocks: list[int],
    out: TensorType, activation: str,
) -> Kernel:  # fmt: skip
    """A kernel of one operator and an activation; the last `constants` inputs are constant."""
    values = tuple(
        Value(f"v{i}", TensorType(shape, f32, block))
        for i, (shape, block) in enumerate(zip(shapes, blocks, strict=True))
    )
    result = Value("n0", out)
    nodes = [Node(op, values, (result,))]
    if activation:
        result = Value("n1", out)
        nodes.append(Node(Pointwise(activation), nodes[0].outputs, (result,)))
    graph = Graph("kernel", values, tuple(nodes), (result,))
    operands = {v.name: Operand.dense(v.type) for v in (*values, result)}
    names = [v.name for v in values]
    return Kernel(graph, operands, frozenset(names[len(names) - constants :]), target)


def jobs(target: Target, activation: str) -> dict[str, Job]:
    """The layers, as kernels."""
    lanes = target.lanes
    found: dict[str, Job] = {}
    for name, (c, m, h, w, k, s, groups) in CONVOLUTIONS.items():
        pad = k // 2 if k != 6 else 2
        out = tuple((n + 2 * pad - k) // s + 1 for n in (h, w))
        shapes = [(1, c, h, w), (m, c // groups, k, k), (m,)]
        found[name] = (
            kernel_of(
                target, Conv((s, s), (pad,) * 4, (1, 1), groups), shapes, 2,
                [lanes if c > 4 else 0, 0, 0], TensorType((1, m, *out), f32, lanes), activation,
            ),
            2.0 * m * c // groups * k * k * out[0] * out[1],
        )  # fmt: skip
    for name, (a, b, transposed, constant) in PRODUCTS.items():
        shape = (*a[:-1], b[-2] if transposed else b[-1])
        kernel = kernel_of(
            target, MatMul(False, transposed), [a, b], int(constant), [0, 0],
            TensorType(shape, f32), "",
        )  # fmt: skip
        found[name] = kernel, 2.0 * float(np.prod(shape)) * a[-1]
    for name, (c, h, w, k, s) in POOLS.items():
        pad = k // 2
        op = Pool("max", (k, k), (s, s), (pad,) * 4, (1, 1))
        out = tuple((n + 2 * pad - k) // s + 1 for n in (h, w))
        type_ = TensorType((1, c, *out), f32, lanes)
        kernel = kernel_of(target, op, [(1, c, h, w)], 0, [lanes], type_, "")
        found[name] = kernel, float(c * out[0] * out[1] * k * k)
    return found


def report(name: str, kernel: Kernel, flops: float, peak: float, count: int, cold: bool) -> None:
    for tactic in TACTICS:
        offers = tactic.offers(kernel)
        if isinstance(offers, No):
            continue
        for config in offers[:count]:
            _row(name, kernel, tactic, config, flops, peak, cold)


def _row(
    name: str,
    kernel: Kernel,
    tactic: Tactic,
    config: Config,
    flops: float,
    peak: float,
    cold: bool,
) -> None:
    code = tactic.build(kernel, config)
    start = time.perf_counter()
    object_ = compile_object(kernel.target, code.llvm, code.level)
    compiled_ms = (time.perf_counter() - start) * 1e3
    us = measure(kernel, [(tactic, config, code, object_)], cold)[0]
    gflops = flops / us / 1e3
    settings = " ".join(f"{key}={value}" for key, value in config.items())
    print(
        f"{name:26} {us:9.1f} us {gflops:7.1f} GFLOP/s {100 * gflops / peak:6.1f} %"
        f"  {code.tiles:4} tiles {compiled_ms:4.0f} ms  {tactic.name} {settings}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of layer names; all layers if none")
    parser.add_argument("--isa", default="", help="avx512, avx2 or portable")
    parser.add_argument("--offers", type=int, default=2, help="configurations of each tactic")
    parser.add_argument("--activation", default="relu", help="pointwise function; empty for none")
    parser.add_argument("--cold", action="store_true", help="weights come from memory")
    arguments = parser.parse_args()
    target = resolve(f"cpu:{arguments.isa}" if arguments.isa else "cpu")
    peak = measure_limits(target, 1).peak_gflops
    print(f"{target} on {target.machine}: {peak:.1f} GFLOP/s at most, one core")
    for name, (kernel, flops) in jobs(target, arguments.activation).items():
        if not arguments.names or any(part in name for part in arguments.names):
            report(name, kernel, flops, peak, arguments.offers, arguments.cold)


if __name__ == "__main__":
    main()
