"""Whole networks on an NVIDIA GPU: Planck beside PyTorch, eager and compiled.

    python -m bench.cuda resnet50 yolov5s --batch 1 --batch 8 --precision fp16 -o cuda.json
    python -m bench.cuda --budget-seconds 600           # all models, batch 1, fp16

A network's contenders take turns, round by round: each launches its CUDA graph many times, on
several sets of inputs, between two events. A median of the rounds counts. Each network has a
process of its own, so that a kernel that spoils the GPU's context spoils one network, and the file
is written after each case. Planck's outputs are compared with PyTorch's in float32.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench import models
from planck.cli.options import sources_of
from planck.files import write_file

ROUNDS: Final = 9
ROUND_MS: Final = 20.0  # of one contender's launches between two events
SETTLE_MS: Final = 60.0  # of launches before, for the clocks
NAMES: Final = ("planck", "eager", "inductor")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="models; all if left out")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="batch sizes; 1 if left out")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp16, bf16, tf32, fp32; fp16 if left out")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda.json"),
    level: Annotated[int, typer.Option("-O", help="Planck's optimisation level")] = 3,
    timing_cache: Annotated[str, typer.Option()] = "bench-output/planck-cuda.timings",
    only: Annotated[
        list[str] | None, typer.Option(help=f"contenders: {', '.join(NAMES)}; all if left out")
    ] = None,
    tactic_sources: Annotated[
        str | None,
        typer.Option(help="Planck's: cublaslt, or none; those that are here if left out"),
    ] = None,
    budget_seconds: Annotated[
        float, typer.Option(help="no case begins after this; a case that runs is ended")
    ] = 3600.0,
) -> None:
    """Compare whole networks on this machine's GPU."""
    end = time.monotonic() + budget_seconds
    cases = [
        (name, size, kind)
        for size in batch or [1]
        for kind in precision or ["fp16"]
        for name in models.expand(names or ())
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(out.read_text()) if out.exists() else {}
    for name, size, kind in cases:
        left = end - time.monotonic()
        if left < 5:
            print("the budget is over", flush=True)
            break
        request = {
            "name": name,
            "batch": size,
            "precision": kind,
            "level": level,
            "timing_cache": timing_cache,
            "only": list(only or NAMES),
            "sources": sources_of(tactic_sources),
        }
        key = f"{name}-b{size}-{kind}"
        results[key] = _in_process(request, left)
        write_file(out, json.dumps(results, indent=1).encode())
        print(row(key, results[key]), flush=True)


def _in_process(request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What a process of its own measures, contender by contender; or why it did not."""
    command = [sys.executable, "-m", "bench.cuda", "--one", json.dumps(request)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": "the budget was over"}
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"failed": (ran.stderr.strip() or f"exit {ran.returncode}")[-2000:]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def row(key: str, found: dict[str, Any]) -> str:
    """A line of the table: milliseconds, and how many times as long as Planck the others take."""
    if "failed" in found:
        return f"{key:28} {found['failed'].splitlines()[-1][:100]}"
    cells = []
    us = {name: own["us"] for name, own in found["contenders"].items() if "us" in own}
    for name, own in found["contenders"].items():
        ratio = f" ({us[name] / us['planck']:.2f}x)" if "planck" in us and name in us else ""
        text = f"{own['us'] / 1e3:.3f} ms{ratio}" if "us" in own else own["failed"].splitlines()[-1]
        cells.append(f"{name} {text[:60]}")
    planck = found["contenders"].get("planck", {})
    if "error" in planck:
        cells.append(
            f"error {planck['error']:.1e}, {planck['steps']} steps,"
            f" {planck['reference_steps']} references, built in {planck['build_s']} s"
        )
    return f"{key:28} " + "; ".join(cells)


def one(request: dict[str, Any]) -> dict[str, Any]:
    """Build and time the contenders of one case, in this process."""
    import torch  # type: ignore[import-not-found]

    from bench.cuda_contenders import Case, Contender, ours, theirs

    case = Case(request["name"], request["batch"], request["precision"])
    stream = torch.cuda.Stream()
    made: list[Contender] = []
    found: dict[str, dict[str, Any]] = {}
    feeds = case.feeds()
    makers = {
        "planck": lambda: ours(
            case, stream, request["level"], request["timing_cache"], feeds, request["sources"]
        ),
        "eager": lambda: theirs(case, stream, compiled=False),
        "inductor": lambda: theirs(case, stream, compiled=True),
    }
    for name in request["only"]:
        try:
            made.append(makers[name]())
            found[name] = dict(made[-1].facts)
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:2000]}
    for contender, times in zip(made, _rounds_us(stream, [c.launches for c in made]), strict=True):
        found[contender.name] |= {
            "us": statistics.median(times),
            "rounds_us": [round(us, 2) for us in times],
        }
    return {"gpu": torch.cuda.get_device_name(), "contenders": found}


def _rounds_us(stream: Any, contenders: Sequence[Sequence[Any]]) -> list[list[float]]:
    """Microseconds of a run of each contender in each round; they take turns."""
    import torch

    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timed_us(launches: Sequence[Any], count: int) -> float:
        with torch.cuda.stream(stream):
            first.record(stream)
            for number in range(count):
                launches[number % len(launches)]()
            last.record(stream)
        last.synchronize()
        return float(first.elapsed_time(last)) * 1e3 / count

    counts = []
    for launches in contenders:
        timed_us(launches, 3)
        own = timed_us(launches, 10)
        timed_us(launches, max(1, int(SETTLE_MS * 1e3 / own)))
        counts.append(max(3, int(ROUND_MS * 1e3 / own)))
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(ROUNDS):
        for own, launches, count in zip(times, contenders, counts, strict=True):
            own.append(timed_us(launches, count))
    return times


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(json.loads(sys.argv[2]))), flush=True)
    else:
        typer.run(main)
