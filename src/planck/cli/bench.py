"""`planck bench`: how long an inference takes."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer

from planck.cli.app import console, show_json, table
from planck.cli.model import (
    AsJson,
    Cache,
    Level,
    Model,
    Shapes,
    Target,
    Threads,
    WeightsFile,
    engine_of,
    load_inputs,
)
from planck.dtypes import Array


def bench(
    model: Model,
    iterations: Annotated[int, typer.Option(min=1, help="Timed inferences, at least.")] = 50,
    duration: Annotated[float, typer.Option(min=0, help="Seconds to time, at least.")] = 2.0,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences before timing.")] = 5,
    inputs: Annotated[
        list[str] | None, typer.Option("-i", "--input", help="NAME=file.npy or file.npz.")
    ] = None,
    profile: Annotated[bool, typer.Option(help="Time every step as well.")] = False,
    threads: Threads = None,
    target: Target = "cpu",
    shape: Shapes = None,
    weights: WeightsFile = None,
    timing_cache: Cache = None,
    level: Level = 3,
    as_json: AsJson = False,
) -> None:
    """Time a plan (or build a model and time it).

    \b
    Examples:
      planck bench yolov5s.plan --threads 2
      planck bench yolov5s.plan --profile --json > profile.json
    """
    engine = engine_of(
        model,
        target=target,
        threads=threads,
        shapes=shape,
        weights=weights,
        timing_cache=timing_cache,
        level=level,
        progress=not as_json,
    )
    arrays = load_inputs(engine, inputs or [])
    with engine.create_execution_context(threads=threads) as context:
        out = context(arrays)
        for _ in range(warmup):
            context(arrays, out=out)
        times: list[float] = []
        end = time.perf_counter() + duration
        while len(times) < iterations or time.perf_counter() < end:
            start = time.perf_counter()
            context(arrays, out=out)
            times.append(time.perf_counter() - start)
        steps = context.profile(arrays) if profile else None
        used = context.threads
    row = _statistics(np.array(times) * 1e3)
    if as_json:
        result = {"model": str(model), "threads": used, **row}
        show_json({**result, "profile": steps.to_json()} if steps else result)
        return
    rows = table(*row, title=f"{model.name}, {used} threads, milliseconds")
    rows.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    if steps:
        console.print(str(steps), markup=False, highlight=False)
    console.print(rows)


def _statistics(times_ms: Array) -> dict[str, float | int]:
    percent = {f"p{p}": float(np.percentile(times_ms, p)) for p in (90, 95, 99)}
    return {
        "runs": len(times_ms),
        "min": float(times_ms.min()),
        "mean": float(times_ms.mean()),
        "median": float(np.median(times_ms)),
        **percent,
        "per second": 1e3 / float(times_ms.mean()),
    }
