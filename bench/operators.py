"""Single operators beside ONNX Runtime: medians of whole calls, on one thread each, in turns.

    python -m bench.operators                        # all
    python -m bench.operators softmax pool -o operators.json

A network is mostly convolutions and products. These are the rest, where a slow kernel would not
show in the models that everybody measures, but in some model that nobody here has seen.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from onnx import helper, numpy_helper

import planck
from planck.target import host

RNG = np.random.default_rng(0)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """One node.

    inputs:    arrays, by position
    constants: inputs that are initialisers, by position
    """

    op: str
    inputs: tuple[Array, ...]
    constants: Mapping[int, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 18
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def model(self) -> tuple[onnx.ModelProto, dict[str, Array]]:
        count = max(len(self.inputs) - 1, *self.constants, -1) + 1
        held = {k: np.asarray(v) for k, v in self.constants.items()}
        names = [
            f"c{k}" if k in held else f"x{k}" if k < len(self.inputs) else "" for k in range(count)
        ]
        feed = {f"x{k}": a for k, a in enumerate(self.inputs) if k not in held}
        made = [f"y{k}" for k in range(self.outputs)]
        given = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feed.items()
        ]
        node = helper.make_node(self.op, names, made, **self.attributes)
        weights = [numpy_helper.from_array(a, f"c{k}") for k, a in held.items()]
        results = [helper.make_empty_tensor_value_info(n) for n in made]
        graph = helper.make_graph([node], self.op, given, results, weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10), feed


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape, np.float32)


def i(high: int, *shape: int) -> Array:
    return RNG.integers(0, high, shape)


def u8(*shape: int) -> Array:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def _case(
    op: str, *inputs: Array, c: Any = None, outs: int = 1, opset: int = 18, **how: Any
) -> Case:
    return Case(op, inputs, c or {}, outs, opset, how)


FUNCTIONS = (
    "Sigmoid", "Tanh", "Exp", "Softplus", "Sin", "Atan", "Elu", "Mish", "HardSwish", "Relu",
)  # fmt: skip


def cases() -> dict[str, Case]:
    """By a name that says the shape."""
    half = [1] * 4
    rows = RNG.random((100, 2, 2)) * 800
    regions = np.sort(rows, axis=1).reshape(100, 4).astype(np.float32)
    square = {"c": {2: np.array([1, 1, 2, 2], np.float32)}}
    small = {"c": {3: ints(1, 3, 224, 224)}}
    picture = f(1, 64, 112, 112)
    one = f(1024, 1024)
    return {
        "TopK 300 of 8400": _case("TopK", f(1, 8400), c={1: ints(300)}, outs=2),
        "TopK 5 of 64x1000": _case("TopK", f(64, 1000), c={1: ints(5)}, outs=2),
        "TopK all of 8x4096": _case("TopK", f(8, 4096), c={1: ints(4096)}, outs=2),
        "TopK 900 of 40000 along axis 1": _case(
            "TopK", f(1, 40000, 4), c={1: ints(900)}, outs=2, axis=1
        ),
        "ArgMax 1x21x512x512 axis 1": _case("ArgMax", f(1, 21, 512, 512), axis=1),
        "ScatterND rows": _case(
            "ScatterND", f(4096, 256), RNG.permutation(4096)[:1024, None], f(1024, 256)
        ),
        "ScatterElements add": _case(
            "ScatterElements", f(4096, 64), i(4096, 4096, 64), f(4096, 64), axis=0, reduction="add"
        ),
        "RoiAlign 100 of 256 channels": _case(
            "RoiAlign",
            f(1, 256, 50, 50),
            regions,
            np.zeros(100, np.int64),
            output_height=7,
            output_width=7,
            sampling_ratio=2,
            spatial_scale=1 / 16,
        ),
        "CumSum 1x16000": _case("CumSum", f(1, 16000), c={1: np.array(1)}),
        "CumSum 8x512x64 axis 1": _case("CumSum", f(8, 512, 64), c={1: np.array(1)}),
        "Softmax 8x12x197x197": _case("Softmax", f(8, 12, 197, 197), axis=-1),
        "Softmax 1x21x256x256 axis 1": _case("Softmax", f(1, 21, 256, 256), axis=1),
        "LogSoftmax 64x1000": _case("LogSoftmax", f(64, 1000), axis=-1),
        "LayerNormalization 8x197x768": _case(
            "LayerNormalization", f(8, 197, 768), c={1: f(768), 2: f(768)}, axis=-1
        ),
        "InstanceNormalization 1x64x128x128": _case(
            "InstanceNormalization", f(1, 64, 128, 128), c={1: f(64), 2: f(64)}
        ),
        "LRN 1x64x56x56": _case("LRN", f(1, 64, 56, 56), size=5),
        "ReduceMax 8x256x28x28 axis 1": _case("ReduceMax", f(8, 256, 28, 28), c={1: ints(1)}),
        "ReduceMean 8x256x28x28 pixels": _case("ReduceMean", f(8, 256, 28, 28), c={1: ints(2, 3)}),
        "Transpose to channels last": _case("Transpose", f(8, 64, 56, 56), perm=[0, 2, 3, 1]),
        "Transpose 2048x1024": _case("Transpose", f(2048, 1024), perm=[1, 0]),
        "Transpose of a picture in bytes": _case(
            "Transpose", u8(1, 640, 640, 3), perm=[0, 3, 1, 2]
        ),
        "DepthToSpace 1x64x128x128": _case("DepthToSpace", f(1, 64, 128, 128), blocksize=2),
        "GridSample 1x32x64x64": _case(
            "GridSample", f(1, 32, 64, 64), f(1, 64, 64, 2) / 2, opset=20, mode="linear"
        ),
        "DeformConv 16 channels": _case(
            "DeformConv",
            f(1, 16, 28, 28),
            f(16, 16, 3, 3),
            f(1, 18, 28, 28) / 2,
            opset=19,
            pads=half,
        ),
        "Conv 3-D 16 channels": _case(
            "Conv", f(1, 16, 16, 32, 32), c={1: f(16, 16, 3, 3, 3) / 20}, pads=[1] * 6
        ),
        "Conv 1-D 64 channels": _case(
            "Conv", f(1, 64, 4000), c={1: f(64, 64, 5) / 18}, pads=[2, 2]
        ),
        "Conv 11x11 stride 4": _case(
            "Conv", f(1, 3, 224, 224), c={1: f(64, 3, 11, 11) / 20}, strides=[4, 4], pads=[2] * 4
        ),
        "Conv 5x5": _case("Conv", f(1, 32, 56, 56), c={1: f(32, 32, 5, 5) / 28}, pads=[2] * 4),
        "Conv dilated": _case(
            "Conv", f(1, 32, 64, 64), c={1: f(32, 32, 3, 3) / 17}, pads=[4] * 4, dilations=[4, 4]
        ),
        "Conv of computed weights": _case("Conv", f(1, 16, 28, 28), f(32, 16, 3, 3), pads=half),
        "ConvTranspose 4x4": _case(
            "ConvTranspose", f(1, 64, 32, 32), c={1: f(64, 32, 4, 4)}, strides=[2, 2], pads=half
        ),
        "ConvTranspose 3-D": _case(
            "ConvTranspose", f(1, 32, 8, 14, 14), c={1: f(32, 16, 2, 2, 2)}, strides=[2] * 3
        ),
        "MaxPool 3x3 stride 2": _case(
            "MaxPool", picture, kernel_shape=[3, 3], strides=[2, 2], pads=half
        ),
        "MaxPool 1-D": _case("MaxPool", f(1, 64, 4000), kernel_shape=[3], strides=[2]),
        "MaxPool 3-D": _case(
            "MaxPool", f(1, 32, 16, 28, 28), kernel_shape=[2] * 3, strides=[2] * 3
        ),
        "AveragePool 3x3": _case("AveragePool", f(1, 64, 56, 56), kernel_shape=[3, 3], pads=half),
        "Resize linear 2x": _case("Resize", f(1, 64, 64, 64), **square, mode="linear"),
        "Resize nearest 2x": _case("Resize", f(1, 64, 64, 64), **square, mode="nearest"),
        "Resize cubic 2x": _case("Resize", f(1, 16, 64, 64), **square, mode="cubic"),
        "Resize antialiased to 224": _case(
            "Resize", f(1, 3, 640, 640), **small, mode="linear", antialias=1
        ),
        "Pad reflect": _case(
            "Pad", f(1, 32, 128, 128), c={1: ints(0, 0, 3, 3, 0, 0, 3, 3)}, mode="reflect"
        ),
        "Gather rows": _case("Gather", f(30000, 768), i(30000, 512)),
        "GatherElements": _case("GatherElements", f(1, 8400, 80), i(8400, 1, 300, 80), axis=1),
        "GatherND": _case("GatherND", f(8, 1000, 64), np.stack([i(8, 2000), i(1000, 2000)], -1)),
        "OneHot": _case(
            "OneHot", i(1000, 512), c={1: np.array(1000), 2: np.array([0, 1], np.float32)}
        ),
        "Where": _case(
            "Where", RNG.random((8, 12, 128, 128)) > 0.5, f(8, 12, 128, 128), f(1, 1, 1, 1)
        ),
        "Gelu 8x197x3072": _case("Gelu", f(8, 197, 3072), opset=20),
        "Erf 8x197x3072": _case("Erf", f(8, 197, 3072)),
        **{name: _case(name, one) for name in FUNCTIONS},
        "Log": _case("Log", np.abs(one) + 0.01),
        "Pow": _case("Pow", np.abs(f(512, 1024)), f(512, 1024)),
        "PRelu": _case("PRelu", picture, c={1: f(64, 1, 1)}),
        "Clip": _case("Clip", one, c={1: np.float32(0), 2: np.float32(6)}),
        "Add of a row": _case("Add", one, f(1024)),
        "Mod": _case("Mod", i(1000, 1024, 512), c={1: ints(7)}),
        "Cast to integers": _case("Cast", one, to=7),
        "Cast of bytes": _case("Cast", u8(1, 3, 640, 640), to=1),
        "Concat last axis": _case("Concat", f(1, 8400, 4), f(1, 8400, 80), axis=-1),
        "Split last axis": _case("Split", f(1, 8400, 85), c={1: ints(4, 1, 80)}, outs=3, axis=-1),
        "MatMul 96 of 197x64": _case("MatMul", f(96, 197, 64), f(96, 64, 197)),
        "MatMul of computed matrices": _case("MatMul", f(512, 512), f(512, 512)),
        "Gemm 64x2048x1000": _case(
            "Gemm", f(64, 2048), c={1: f(1000, 2048) / 45, 2: f(1000)}, transB=1
        ),
        "LSTM 50 steps": _case(
            "LSTM",
            f(50, 1, 128),
            c={1: f(1, 1024, 128) / 10, 2: f(1, 1024, 256) / 10},
            hidden_size=256,
        ),
        "GRU 50 steps": _case(
            "GRU",
            f(50, 4, 128),
            c={1: f(1, 768, 128) / 10, 2: f(1, 768, 256) / 10},
            hidden_size=256,
        ),
        "QuantizeLinear": _case(
            "QuantizeLinear", picture, c={1: np.float32(0.1), 2: np.uint8(128)}
        ),
        "DequantizeLinear": _case(
            "DequantizeLinear", u8(1, 64, 112, 112), c={1: np.float32(0.1), 2: np.uint8(128)}
        ),
        "MatMulInteger": _case(
            "MatMulInteger", u8(64, 512), c={1: RNG.integers(-60, 60, (512, 512)).astype(np.int8)}
        ),
    }


def time_in_turns(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Each call's median time in us; they take turns, so that all have the same machine."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: 1e6 * statistics.median(found) for name, found in times.items()}


def compared(name: str, case: Case, seconds: float) -> dict[str, Any]:
    """The times of both, their ratio, and the difference of their results."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model, feed = case.model()
    engine = planck.build(model, threads=1)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = [output.name for output in session.get_outputs()]
    got = engine(feed)
    want = zip(outputs, session.run(None, feed), strict=True)
    calls = {"planck": lambda: engine(feed), "onnxruntime": lambda: session.run(None, feed)}
    times = time_in_turns(calls, seconds)
    return {
        "name": name,
        **{f"{runtime}_us": round(median, 1) for runtime, median in times.items()},
        "ratio": round(times["onnxruntime"] / times["planck"], 3),
        "error": max(_error(got[key], array) for key, array in want),
    }


def _error(got: Array, want: Array) -> float:
    """The largest difference over the largest value."""
    wide = np.asarray(want, np.float64)
    return float(np.abs(np.asarray(got, np.float64) - wide).max() / (np.abs(wide).max() or 1.0))


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="parts of names; all if left out")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="write the figures as JSON")
    ] = None,
    seconds: Annotated[float, typer.Option(help="for each operator")] = 0.6,
) -> None:
    """Time single operators by Planck and by ONNX Runtime."""
    onnxruntime.set_default_logger_severity(3)
    everything = cases()
    words = [word.lower() for word in names or [""]]
    chosen = {k: v for k, v in everything.items() if any(word in k.lower() for word in words)}
    rows = []
    print("| operator | Planck us | ONNX Runtime us | ratio | error |\n|---|---|---|---|---|")
    for name, case in chosen.items():
        row = compared(name, case, seconds)
        rows.append(row)
        cells = f"{row['planck_us']:.0f} | {row['onnxruntime_us']:.0f} | {row['ratio']:.2f}"
        print(f"| {row['name']} | {cells} | {row['error']:.0e} |", flush=True)
    mean = math.exp(sum(math.log(row["ratio"]) for row in rows) / max(len(rows), 1))
    below = sum(row["ratio"] < 1 for row in rows)
    print(f"\ngeometric mean {mean:.2f}, {below} of {len(rows)} below 1")
    if out:
        machine = {
            "machine": platform.processor() or platform.machine(),
            "target": host().isa,
        }
        out.write_text(json.dumps({**machine, "operators": rows}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
