"""Several engines on one NVIDIA GPU: one after the other, each on a stream, and as one graph.

    python -m bench.cuda_streams yolov4_tiny --batch 1 --batch 18 -o streams.json

Five engines with weights, memory and inputs of their own run one inference each:

    serial   five graphs in one stream
    streams  each graph in a stream of its own
    merged   one graph of five branches (planck.cuda.Merged)

The ways take turns; a median of rounds of many launches counts, by the host's clock. With --peer,
PyTorch's CUDA graphs run in the same three ways. Each batch has a process of its own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from planck.files import write_file

ENGINES: Final = 5
ROUNDS: Final = 15
ROUND_MS: Final = 20.0
SETTLE_MS: Final = 60.0


def main(
    name: Annotated[str, typer.Argument(help="a model of bench/models")] = "yolov4_tiny",
    batch: Annotated[list[int] | None, typer.Option(help="1 and 18 if left out")] = None,
    precision: Annotated[str, typer.Option()] = "fp16",
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda-streams.json"),
    level: Annotated[int, typer.Option("-O")] = 3,
    timing_cache: Annotated[str, typer.Option()] = "bench-output/planck-cuda.timings",
    peer: Annotated[bool, typer.Option(help="PyTorch, too")] = False,
) -> None:
    """Compare the ways to run five engines on this machine's GPU."""
    results: dict[str, Any] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    for size in batch or [1, 18]:
        request = {
            "name": name,
            "batch": size,
            "precision": precision,
            "level": level,
            "timing_cache": timing_cache,
            "peer": peer,
        }
        command = [sys.executable, "-m", "bench.cuda_streams", "--one", json.dumps(request)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
        key = f"{name}-b{size}-{precision}"
        results[key] = json.loads(lines[-1]) if lines else {"failed": ran.stderr[-2000:]}
        write_file(out, json.dumps(results, indent=1).encode())
        print(key, json.dumps(results[key]), flush=True)


def one(request: dict[str, Any]) -> dict[str, Any]:
    """Microseconds of five inferences, by who runs them and how."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        found["planck"] = _turns_us(*_planck(request, stack))
    if request["peer"]:
        found["torch"] = _turns_us(*_torch(request))
    return {who: {**us, **_speedups(us)} for who, us in found.items()}


def _speedups(us: Mapping[str, float]) -> dict[str, float]:
    return {f"{way}_speedup": round(us["serial"] / us[way], 3) for way in us if way != "serial"}


Ways = Mapping[str, Callable[[], None]]


def _planck(request: Mapping[str, Any], stack: ExitStack) -> tuple[Ways, Callable[[], None]]:
    """The ways to run Planck, and what waits for all of them."""
    import planck
    from bench import models
    from planck.cuda import Merged
    from planck.runtime.cuda.engine import CudaEngine

    plan = planck.build(
        models.path(request["name"], request["batch"]),
        target="cuda",
        precision=request["precision"],
        optimization_level=request["level"],
        timing_cache=request["timing_cache"],
        accuracy=None,
    ).plan
    engines = [stack.enter_context(CudaEngine(plan)) for _ in range(ENGINES)]
    contexts = [stack.enter_context(engine.create_execution_context()) for engine in engines]
    for context in contexts:
        context.bind()
    merged = stack.enter_context(Merged(contexts))
    first = int(contexts[0]._stream)

    def serial() -> None:
        for context in contexts:
            context.execute_async(first)

    def streams() -> None:
        for context in contexts:
            context.execute_async()

    def wait() -> None:
        for context in contexts:
            context.synchronize()
        merged.synchronize()

    return {"serial": serial, "streams": streams, "merged": merged.execute_async}, wait


def _torch(request: Mapping[str, Any]) -> tuple[Ways, Callable[[], None]]:
    """The same of PyTorch, eager, in CUDA graphs."""
    import torch  # type: ignore[import-not-found]

    from bench.cuda_contenders import DTYPES
    from bench.torch_models.full import full

    torch.backends.cudnn.benchmark = True
    dtype = DTYPES[request["precision"]]
    streams = [torch.cuda.Stream() for _ in range(ENGINES)]
    made = full(request["name"], request["batch"])
    networks, inputs, graphs = [], [], []

    def captured(run: Callable[[], None]) -> Any:
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph, stream=streams[0]):
            run()
        return graph

    keep: list[Any] = []
    for _ in range(ENGINES):
        network = made.make().eval().cuda().to(dtype).to(memory_format=torch.channels_last)
        x = [
            t.cuda().to(dtype).contiguous(memory_format=torch.channels_last) for t in made.example()
        ]
        networks.append(network)
        inputs.append(x)
        with torch.no_grad(), torch.cuda.stream(streams[0]):
            for _ in range(3):
                network(*x)
        torch.cuda.synchronize()
        graphs.append(captured(lambda n=network, x=x: keep.append(n(*x))))  # type: ignore[misc]

    def forked() -> None:
        for stream, network, x in zip(streams, networks, inputs, strict=True):
            stream.wait_stream(streams[0])
            with torch.cuda.stream(stream):
                keep.append(network(*x))
        for stream in streams[1:]:
            streams[0].wait_stream(stream)

    merged = captured(forked)

    def serial() -> None:
        with torch.cuda.stream(streams[0]):
            for graph in graphs:
                graph.replay()

    def on_streams() -> None:
        for stream, graph in zip(streams, graphs, strict=True):
            with torch.cuda.stream(stream):
                graph.replay()

    def together() -> None:
        with torch.cuda.stream(streams[0]):
            merged.replay()

    return {
        "serial": serial,
        "streams": on_streams,
        "merged": together,
    }, torch.cuda.synchronize


def _turns_us(ways: Ways, wait: Callable[[], None]) -> dict[str, float]:
    """Medians of each way's rounds; the ways take turns."""

    def round_us(run: Callable[[], None], count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait()
        return (time.perf_counter() - start) * 1e6 / count

    counts = {}
    for way, run in ways.items():
        round_us(run, 3)
        us = round_us(run, 10)
        round_us(run, max(1, int(SETTLE_MS * 1e3 / us)))
        counts[way] = max(3, int(ROUND_MS * 1e3 / us))
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            times[way].append(round_us(run, counts[way]))
    return {way: round(statistics.median(own), 1) for way, own in times.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(json.loads(sys.argv[2]))), flush=True)
    else:
        typer.run(main)
