"""Every way of Planck's to choose boxes and the largest k on NVIDIA GPUs: whether right, how fast.

    python -m bench.cuda_selecting                  # all cases
    python -m bench.cuda_selecting boxes "of 25200" # those whose names have one of these parts

Each configuration runs many times, each time compared bit by bit with NumPy's reference, and then
in a CUDA graph of many launches, which is timed and compared once more. How fast a way is depends
on the numbers: on how many boxes overlap, on how many elements are equal. The exit code is 1 if
anything differs, or if counters are not left at zero.
"""

from __future__ import annotations

import faulthandler
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from bench.on_gpu import REPLAYS, OnGpu
from planck.codegen.triton.code import Cubin, TritonCode
from planck.codegen.triton.compile import compile_cubin
from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import Device
from planck.device.cuda.driver import Parameters
from planck.dtypes import Array, bf16, from_numpy
from planck.files import write_file
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.movement import TopK
from planck.ops.nn import NonMaxSuppression
from planck.plan.model import COUNTERS, WORKSPACE
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel, Operand
from planck.tactics.triton.single import Single
from planck.target import Target, gpu_target

RUNS: Final = 20
LAUNCHES: Final = 24  # of one graph, at most
GRAPH_US: Final = 20_000.0
SECONDS: Final = 300  # after which a kernel hangs, and where is told
POISON: Final = 255

Arrays = dict[str, Array]


def scattered(images: int, classes: int, boxes: int, span: float, side: float) -> Arrays:
    """Boxes anywhere in a square, every score as likely."""
    rng = np.random.default_rng(0)
    begins = rng.uniform(0, span, (images, boxes, 2))
    found = np.concatenate([begins, begins + rng.uniform(side / 4, side, begins.shape)], 2)
    scores = rng.random((images, classes, boxes), np.float32)
    return {"boxes": found.astype(np.float32), "scores": scores}


def around(objects: int, boxes: int = 25200) -> Arrays:
    """Boxes around objects, each a little beside the others, every score as likely."""
    rng = np.random.default_rng(0)
    which = rng.integers(0, objects, boxes)
    middle = rng.uniform(50, 600, (objects, 2))[which] + rng.normal(0, 2, (boxes, 2))
    half = rng.uniform(15, 60, (objects, 2))[which] * rng.uniform(0.95, 1.05, (boxes, 2))
    found = np.concatenate([middle - half, middle + half], 1)[None].astype(np.float32)
    return {"boxes": found, "scores": rng.random((1, 1, boxes), np.float32)}


def yolo(objects: int = 30, classes: int = 80) -> Arrays:
    """What YOLOv8 gives for 640 x 640: a box for each cell, near an object if one is there."""
    rng = np.random.default_rng(0)
    cells = [np.arange(640 // stride) * stride + stride / 2 for stride in (8, 16, 32)]
    at = np.concatenate([np.stack(np.meshgrid(a, a), -1).reshape(-1, 2) for a in cells])
    middle, size = rng.uniform(60, 580, (objects, 2)), rng.uniform(30, 200, (objects, 2))
    far = (np.abs(at[:, None] - middle) / size).max(2)
    near = far.argmin(1)
    boxes = np.concatenate([middle[near] + rng.normal(0, 3, at.shape), size[near]], 1)
    scores = rng.random((classes, len(at))) ** 8 * 0.2
    scores[near % classes, np.arange(len(at))] += np.clip(0.9 - far.min(1), 0, 1)
    return {"boxes": boxes[None].astype(np.float32), "scores": scores[None].astype(np.float32)}


def alike(side: float, levels: int, boxes: int = 8400) -> Arrays:
    """The same box again and again."""
    scores = np.random.default_rng(0).integers(0, levels, (1, 1, boxes)) / levels + 0.5
    found = np.tile(np.array([0, 0, side, side], np.float32), (1, boxes, 1))
    return {"boxes": found, "scores": scores.astype(np.float32)}


def normal(*shape: int, dtype: Any = np.float32) -> Arrays:
    return {"x": np.random.default_rng(0).standard_normal(shape).astype(dtype)}


def whole(*shape: int, below: int, dtype: Any = np.float32) -> Arrays:
    """Whole numbers, of which many are equal."""
    return {"x": np.random.default_rng(0).integers(0, below, shape).astype(dtype)}


def special(number: int) -> Arrays:
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 1e-45, -1e-45], np.float32)
    return {"x": np.random.default_rng(0).choice(odd, number)}


def cases() -> dict[str, tuple[Op, Callable[[], Arrays]]]:
    some = NonMaxSuppression(300, 0.5, 0.25)
    found: dict[str, tuple[Op, Callable[[], Arrays]]] = {
        "300 boxes of 25200, few overlap": (some, partial(scattered, 1, 1, 25200, 2000, 8)),
        "300 boxes of 18900, 10 objects": (some, partial(around, 10)),
        "300 boxes of 18900, 100 objects": (some, partial(around, 100)),
        "300 boxes of 18900, 1000 objects": (some, partial(around, 1000)),
        "all boxes of 18900, 1000 objects": (
            NonMaxSuppression(25200, 0.5, 0.25), partial(around, 1000),
        ),
        "300 boxes of 8400, 8 images": (some, partial(scattered, 8, 1, 8400, 640, 40)),
        "100 boxes of 8400, 80 classes": (
            NonMaxSuppression(100, 0.5, 0.25), partial(scattered, 1, 80, 8400, 640, 40),
        ),
        "300 boxes of YOLO's, 80 classes": (NonMaxSuppression(300, 0.45, 0.25, True), yolo),
        "300 boxes of YOLO's, few": (NonMaxSuppression(300, 0.45, 0.7, True), yolo),
        "300 boxes of YOLO's, one class": (
            NonMaxSuppression(300, 0.45, 0.25, True), partial(yolo, classes=1),
        ),
        "300 boxes of 300": (
            NonMaxSuppression(300, 0.5, 0.1), partial(scattered, 1, 1, 300, 100, 40),
        ),
        "300 boxes of 8400, all one": (some, partial(alike, 9, 1)),
        "300 boxes of 8400, without area": (some, partial(alike, 0, 5)),
        "300 of 25200, bf16": (TopK(0, 300), partial(normal, 25200, dtype=bf16.numpy)),
        "300 of 25200, many equal": (TopK(0, 300), partial(whole, 25200, below=10)),
        "300 of 25200, all equal": (TopK(0, 300, False), partial(whole, 25200, below=1)),
        "300 of 25200, u32": (
            TopK(0, 300), partial(whole, 25200, below=1 << 32, dtype=np.uint32),
        ),
        "300 of 25200, special": (TopK(0, 300), partial(special, 25200)),
        "8400 of 8400, special": (TopK(0, 8400, False), partial(special, 8400)),
        "300 of 25200 x 4, down": (TopK(0, 300), partial(normal, 25200, 4)),
    }  # fmt: skip
    for k, *shape in (
        (300, 8400), (300, 25200), (300, 100_000), (300, 1_000_000), (300, 8, 25200),
        (300, 64, 8400), (512, 512), (683, 2100), (1000, 25200), (1000, 64, 8400),
        (2000, 1_000_000), (8400, 8400),
    ):  # fmt: skip
        for dtype in (np.float32, np.float16):
            name = f"{k} of {' x '.join(map(str, shape))}, {np.dtype(dtype).name}"
            found[name] = TopK(-1, k), partial(normal, *shape, dtype=dtype)
    return found


def kernel_of(op: Op, arrays: Mapping[str, Array], target: Target) -> Kernel:
    inputs = tuple(Value(n, TensorType(a.shape, from_numpy(a.dtype))) for n, a in arrays.items())
    types = op.infer(*(value.type for value in inputs))
    outputs = tuple(Value(f"out{k}", type_) for k, type_ in enumerate(types))
    graph = Graph("selecting", inputs, (Node(op, inputs, outputs),), outputs, {})
    operands = {value.name: Operand.dense(value.type) for value in (*inputs, *outputs)}
    return Kernel(graph, operands, frozenset(), target)


@dataclass
class Trial:
    """One way on the GPU.

    wanted:  what each output must be, bit for bit
    wrong:   where and when it was not
    """

    gpu: OnGpu
    arrays: Mapping[str, Array]
    wanted: Mapping[str, Array]
    code: TritonCode
    cubin: Cubin
    wrong: list[str] = field(default_factory=list)

    def measure(self) -> float:
        """Microseconds of a launch in a graph of many."""
        gpu, driver, code = self.gpu, self.gpu.driver, self.code
        with gpu.resources() as own:
            places = {name: gpu.put(own, array) for name, array in self.arrays.items()}
            places |= {name: own.memory(array.nbytes) for name, array in self.wanted.items()}
            places |= {
                WORKSPACE: gpu.filled(own, max(1, code.workspace_bytes), POISON),
                COUNTERS: gpu.filled(own, 4 * max(1, code.counters)),
            }
            function = driver.function(own.module(self.cubin.image), code.symbol)
            driver.allow_shared(function, self.cubin.shared_bytes)
            given = [places[name] for name in code.arguments]
            parameters = Parameters(given, code.tensors, driver.encode)
            how = function, code.grid, self.cubin.threads, self.cubin.shared_bytes
            alone, behind = (driver.prepare(*how, d, parameters) for d in (False, code.dependent))
            for run in range(RUNS):
                for name, array in self.wanted.items():
                    driver.fill(places[name], POISON, array.nbytes, gpu.stream)
                driver.launch(alone, gpu.stream)
                self._compare(f"run {run}", places)
            once = gpu.replayed_us([alone], 1)
            number = int(max(1, min(LAUNCHES, GRAPH_US / max(once, 1))))
            us = gpu.replayed_us([alone, *[behind] * (number - 1)], REPLAYS)
            self._compare("after all", places)
            if gpu.get(places[COUNTERS], np.zeros(max(1, code.counters), np.int32)).any():
                self.wrong.append("counters are left")
        return us

    def _compare(self, when: str, places: Mapping[str, int]) -> None:
        for name, want in self.wanted.items():
            got = self.gpu.get(places[name], want)
            bits = (got.view(np.uint8) != want.view(np.uint8)).reshape(want.size, -1).any(1)
            if bits.any():
                at = int(bits.argmax())
                self.wrong.append(
                    f"{when}, {name}: {bits.sum()} of {want.size} differ, first {at}: "
                    f"{got.flat[at]}, not {want.flat[at]}"
                )


def rows(parts: list[str], device: Device) -> Iterator[tuple[str, Config, Trial, float]]:
    """Each case and configuration with what came of it."""
    target = gpu_target(device.properties)
    gpu = OnGpu(device)
    with (
        closing(gpu.base),
        device,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool,
    ):
        jobs = []
        for name, (op, make) in cases().items():
            if parts and not any(part in name for part in parts):
                continue
            arrays = {key: np.ascontiguousarray(array) for key, array in make().items()}
            kernel = kernel_of(op, arrays, target)
            offers = Single().offers(kernel)
            if isinstance(offers, No):
                raise typer.BadParameter(f"{name}: {offers.reason}")
            built = [(config, Single().build(kernel, config)) for config in offers]
            ways = [(c, code, pool.submit(compile_cubin, code, target)) for c, code in built]
            jobs.append((name, op, arrays, ways))
        for name, op, arrays, ways in jobs:
            found = op.reference(*arrays.values())
            wanted = {f"out{k}": np.ascontiguousarray(a).reshape(-1) for k, a in enumerate(found)}
            for config, code, future in ways:
                trial = Trial(gpu, arrays, wanted, code, future.result())
                yield name, config, trial, trial.measure()


def main(
    parts: Annotated[list[str] | None, typer.Argument(help="of cases' names")] = None,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda-selecting.json"),
) -> None:
    """Compare and time every way; the exit code is 1 if one is wrong."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    results: list[dict[str, Any]] = []
    device = Device(open_driver())
    for name, config, trial, us in rows(parts or [], device):
        how = ", ".join(f"{key} {value}" for key, value in config.items())
        print(f"{name:34} {how:32} {'WRONG' if trial.wrong else 'right'} {us:10.2f} us", flush=True)
        for line in trial.wrong[:3]:
            print(f"    {line} ({len(trial.wrong)} in all)", flush=True)
        results.append({"case": name, "config": dict(config), "us": us, "wrong": trial.wrong[:3]})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, json.dumps({"gpu": device.properties.name, "rows": results}, indent=1).encode())
    raise typer.Exit(int(any(row["wrong"] for row in results)))


if __name__ == "__main__":
    typer.run(main)
