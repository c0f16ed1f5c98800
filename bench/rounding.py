"""What a GPU precision's rounding alone does to a network: the tolerance that kernels are held to.

    python -m bench.rounding resnet50 yolov5s -o bench/results/cuda-rounding.json

The stages decide where tensors are rounded, and NumPy computes just that, in float32 between. In
TF32 the weights of products are rounded, and of their other operands the tensor cores cut off what
they do not read: each then errs twice as much, and always towards zero. (With weights cut off, too,
this gives what an H200 gave: 2.1e-3 on mlp and squeezenet, 1.7e-3 on lstm, 1.4e-1 on yolov5s.)
Errors are over the largest output, from float64. A plan whose error is far beyond says that a
kernel is wrong; no GPU is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final
from unittest.mock import patch

import numpy as np
import onnx
import typer

from bench import models
from bench.runners import Arrays, relative_error
from planck.compiler.accuracy import BUDGET
from planck.compiler.api import options_of
from planck.compiler.cuda.stages import STAGES
from planck.files import write_file
from planck.frontends.onnx import read
from planck.ir.graph import Op
from planck.ir.interpret import interpret
from planck.ops.float64 import interpret_float64
from planck.ops.nn import Attention, Conv, ConvTranspose, MatMul
from planck.tactics.triton.operands import tf32

RESULTS: Final = Path(__file__).parent / "results" / "cuda-rounding.json"
# By which a plan may exceed what rounding alone does to the one input of RESULTS. The largest error
# of many inputs is larger: of 14 images, NumPy's were 0.85 to 1.63 times that of the first on
# yolov5s, and 0.82 to 1.25 times on 12 of resnet50.
TIMES: Final = 2.0
TIMES_OF_BATCH: Final = 3.0
TARGET: Final = "cuda:sm_90"
PRODUCTS: Final[dict[type[Op], int]] = {Conv: 2, ConvTranspose: 2, MatMul: 2, Attention: 3}


def main(
    names: Annotated[list[str] | None, typer.Argument(help="models; all if left out")] = None,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda-rounding.json"),
) -> None:
    """Errors that fp32, tf32, fp16 and bf16 cannot avoid, at batch 1."""
    results: dict[str, dict[str, float]] = json.loads(out.read_text()) if out.exists() else {}
    for name in models.expand(names or ()):
        results[name] = errors(models.path(name))
        print(f"{name:16}", *(f"{kind} {error:.1e}" for kind, error in results[name].items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, json.dumps(results, indent=1).encode())


def tolerance(name: str, precision: str, batch: int = 1) -> float | None:
    """The error that says that a kernel is wrong; None for a network that RESULTS lacks."""
    if precision == "fp32":
        return BUDGET
    figures = json.loads(RESULTS.read_text()).get(name, {})
    times = TIMES_OF_BATCH if batch > 1 else TIMES
    return times * figures[precision] if precision in figures else None


def errors(file: Path) -> dict[str, float]:
    """The largest error of any output of floats, by precision."""
    graph, feed = read(file), models.inputs(onnx.load(file), seed=0)
    want = {k: a for k, a in interpret_float64(graph, feed).items() if a.dtype.kind == "f"}

    def error(found: Arrays) -> float:
        return float(relative_error({name: np.asarray(found[name]) for name in want}, want))

    found = {"fp32": error(interpret(graph, feed))}
    with _rounded_products(graph.weights.values()):
        found["tf32"] = error(interpret(graph, feed))
    for precision in ("fp16", "bf16"):
        rounded, options = graph, options_of(TARGET, precision, None, 0, None, None)
        for _, stage in STAGES:
            rounded = stage(rounded, options)
        found[precision] = error(interpret(rounded, feed))
    return found


@contextmanager
def _rounded_products(weights: Iterable[Any]) -> Iterator[None]:
    """The references of products read their operands in TF32; weights were rounded before."""
    constant = {_memory(array) for array in weights}
    with ExitStack() as stack:
        for op, count in PRODUCTS.items():
            own = _rounding(op.reference, count, constant)
            stack.enter_context(patch.object(op, "reference", own))
        yield


def _rounding(reference: Any, count: int, constant: Set[int]) -> Any:
    def run(self: Op, *inputs: Any) -> Any:
        read = (tf32(x) if _memory(x) in constant else _cut(x) for x in inputs[:count])
        return reference(self, *read, *inputs[count:])

    return run


def _cut(array: Any) -> Any:
    """To TF32 as tensor cores read float32: what is behind 10 bits of fraction is left out."""
    if array.dtype != np.float32:
        return array
    bits = np.ascontiguousarray(array).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def _memory(array: Any) -> int:
    """What an array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array)


if __name__ == "__main__":
    typer.run(main)
