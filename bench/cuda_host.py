"""What a run on a GPU costs the host, and whether anything grows: one network, many inferences.

python -m bench.cuda_host yolov4_tiny --runs 100000 -o host.json

execute_async_us    one launch of the graph, from Python
execute_gpu_us      a call with arrays of the GPU, to the end
execute_host_us     the same with arrays of the host, which are copied to pinned memory and on
execute_pinned_us   the same with inputs in pinned memory, and outputs that are new arrays
pipeline_us         such inferences one after the other, whose copies overlap with others' computing
graph_us            the graph on the GPU alone, launched back to back
grown               bytes of host and device, and objects and blocks of Python, over all runs
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from planck.files import write_file

TIMED: Final = 2000
ROWS: Final = 8
WARM: Final = 2000  # runs before memory is looked at


def main(
    name: Annotated[str, typer.Argument(help="a model of bench/models")] = "yolov4_tiny",
    batch: Annotated[int, typer.Option()] = 1,
    precision: Annotated[str, typer.Option()] = "fp16",
    runs: Annotated[int, typer.Option(help="of the long run")] = 100_000,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda-host.json"),
    level: Annotated[int, typer.Option("-O")] = 3,
    timing_cache: Annotated[str, typer.Option()] = "bench-output/planck-cuda.timings",
) -> None:
    """Measure a run's host side on this machine's GPU."""
    import planck
    from bench import models

    engine: Any = planck.build(
        models.path(name, batch),
        target="cuda",
        precision=precision,
        optimization_level=level,
        timing_cache=timing_cache,
        accuracy=None,
    )
    context = engine.create_execution_context()
    found = {**overheads(engine, context), **long_run(context, runs)}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, json.dumps({f"{name}-b{batch}-{precision}": found}, indent=1).encode())
    print(json.dumps(found), flush=True)


def overheads(engine: Any, context: Any) -> dict[str, float]:
    """Microseconds of the host, medians."""
    images = {b.name: np.zeros(b.shape, b.dtype.numpy) for b in engine.inputs}
    results = {b.name: np.empty(b.shape, b.dtype.numpy) for b in engine.outputs}
    pinned = engine.empty_inputs()
    for name, array in images.items():
        pinned[name][...] = array
    context.bind()

    def alone(run: Callable[[], Any]) -> float:
        """Of calls with nothing in front of them on the GPU."""
        times = []
        for _ in range(TIMED):
            start = time.perf_counter_ns()
            run()
            times.append((time.perf_counter_ns() - start) / 1e3)
            context.synchronize()
        return round(statistics.median(times), 2)

    def row() -> float:
        start = time.perf_counter_ns()
        for _ in range(TIMED):
            context.execute_async()
        context.synchronize()
        return round((time.perf_counter_ns() - start) / 1e3 / TIMED, 2)

    row()
    on_gpu = context.input_buffers
    there = {name: array for name, array in context.bind().items()}
    return {
        "execute_async_us": alone(context.execute_async),
        "graph_us": row(),
        "launch_and_wait_us": alone(lambda: (context.execute_async(), context.synchronize())),
        "execute_gpu_us": alone(lambda: context.execute(on_gpu, there)),
        "execute_host_us": alone(lambda: context.execute(images, results)),
        "execute_pinned_us": alone(lambda: context.execute(pinned)),
        "pipeline_us": _pipelined_us(engine, pinned),
    }


def _pipelined_us(engine: Any, inputs: Any) -> float:
    """Of one inference of many, medians of several rows of them."""
    from planck.cuda import Pipeline

    rows = []
    with Pipeline(engine) as pipeline:
        for _ in range(ROWS):
            start = time.perf_counter_ns()
            count = sum(1 for _ in pipeline.run(inputs for _ in range(TIMED // ROWS)))
            rows.append((time.perf_counter_ns() - start) / 1e3 / count)
    return round(statistics.median(rows), 2)


def long_run(context: Any, runs: int) -> dict[str, Any]:
    """What grew over so many runs, of which every tenth brings and fetches arrays of the host."""
    images = {port.name: np.zeros(port.shape, port.dtype) for port in context._ports_in}
    results = {port.name: np.empty(port.shape, port.dtype) for port in context._ports_out}
    context.bind()

    def some(count: int) -> None:
        for number in range(count):
            if number % 10:
                context.execute_async()
            else:
                context.execute(images, results)
        context.synchronize()

    some(WARM)
    before, start = _held(context), time.perf_counter()
    some(runs)
    seconds = time.perf_counter() - start
    grown = {kind: after - before[kind] for kind, after in _held(context).items()}
    return {"runs": runs, "seconds": round(seconds, 2), "grown": grown}


def _held(context: Any) -> dict[str, int]:
    """What the process holds of the host and of the device."""
    from cuda.bindings import driver  # type: ignore[import-not-found]

    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    with context._device:
        _, free, total = driver.cuMemGetInfo()
    return {
        "host_bytes": pages * 4096,
        "device_bytes": total - free,
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
    }


if __name__ == "__main__":
    typer.run(main)
