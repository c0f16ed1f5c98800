"""Whole networks on NVIDIA GPUs: Planck beside PyTorch, eager and compiled.

    python -m bench.cuda resnet50 yolov5s --batch 1 --batch 8 --precision fp16 -o cuda.json
    python -m bench.cuda --budget-seconds 600           # all models, batch 1, fp16
    python -m bench.cuda --check                        # all models, precisions: only whether right

A network's contenders take turns, round by round: each launches its CUDA graph many times, on
several sets of inputs, between two events. A median of the rounds counts. Each case has a process
of its own, so that a kernel that spoils the GPU's context spoils one case, and the file is written
after each.

Cases run side by side, on all GPUs and several on each: while one is timed, others compile. Whoever
times anything on a GPU, Planck's builds as well, waits for its turn (`tune.cuda.clock.gpu_turn`).
What is not held back is a compiled network's first run, of inductor: a few milliseconds. Rounds
into which such runs fell are measured again.

Planck's outputs are compared with PyTorch's in float32. Where they differ by more than a right
plan's may, as bench.rounding says, the case is WRONG, and the exit code is 1.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench import models
from bench.processes import Ended, Job, side_by_side
from planck.cli.options import sources_of
from planck.errors import PlanckError
from planck.files import write_file

ROUNDS: Final = 9
ROUND_MS: Final = 20.0  # of one contender's launches between two events
SETTLE_MS: Final = 60.0  # of launches before, for the clocks
SPREAD: Final = 1.03  # a median over the least round, of each contender, where nothing came between
TRIES: Final = 4  # to find so quiet a time
NAMES: Final = ("planck", "eager", "inductor")
PRECISIONS: Final = ("fp32", "tf32", "fp16", "bf16")
CHECKED_LEVEL: Final = 1
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
PUBLISHED: Final = Path(__file__).parent / "results" / "cuda-fp16.json"
ONE: Final = [sys.executable, "-m", "bench.cuda", "--one"]


@dataclass(frozen=True)
class Named:
    """A case, and how the results call it."""

    network: str
    batch: int
    precision: str

    def __str__(self) -> str:
        return f"{self.network}-b{self.batch}-{self.precision}"


def main(
    names: Annotated[list[str] | None, typer.Argument(help="models; all if left out")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="batch sizes; 1 if left out")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(PRECISIONS)}; fp16, or with --check all, if left out"),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("bench-output/cuda.json"),
    level: Annotated[
        int | None, typer.Option("-O", help="Planck's optimisation level; 3, or 1 with --check")
    ] = None,
    timing_cache: Annotated[str, typer.Option()] = "bench-output/planck-cuda.timings",
    only: Annotated[
        list[str] | None, typer.Option(help=f"contenders: {', '.join(NAMES)}; all if left out")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="only Planck's error, and nothing is timed")
    ] = False,
    tactic_sources: Annotated[
        str | None,
        typer.Option(help="Planck's: cublaslt, cudnn, or none; those that are here if left out"),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="cases at the same time on each GPU")] = 4,
    gpus: Annotated[str | None, typer.Option(help="numbers: 0,1; all if left out")] = None,
    case_seconds: Annotated[float, typer.Option(help="for one case, which is then ended")] = 300.0,
    budget_seconds: Annotated[
        float, typer.Option(help="no case begins after this; a case that runs is ended")
    ] = 3600.0,
) -> None:
    """Compare whole networks on this machine's GPUs."""
    cases = [
        Named(name, size, kind)
        for size in batch or [1]
        for kind in precision or (PRECISIONS if check else ["fp16"])
        for name in models.expand(names or ())
    ]
    asked = {
        "level": level if level is not None else CHECKED_LEVEL if check else 3,
        "timing_cache": timing_cache,
        "only": ["planck"] if check else list(only or NAMES),
        "check": check,
        "sources": sources_of(tactic_sources),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    known = {**json.loads(PUBLISHED.read_text()), **results}
    # The longest first, so that none of them is left alone at the end.
    cases.sort(key=lambda case: -_seconds_before(case, known))
    work = [Job(str(case), [*ONE, json.dumps({**vars(case), **asked})]) for case in cases]
    places = places_of(gpus.split(",") if gpus else visible_gpus(), jobs)
    wrong, left = [], {job.name for job in work}
    for ended in side_by_side(work, places, budget_seconds, case_seconds):
        found = _found(ended)
        if ended.code >= 0 or ended.name not in results:  # what an earlier call found, stays
            results[ended.name] = found
        left.remove(ended.name)
        wrong += [ended.name] * is_wrong(found)
        write_file(out, json.dumps(results, indent=1).encode())
        print(row(ended.name, found), flush=True)
    if left:
        print(f"the budget was over before {', '.join(sorted(left))}")
    if wrong:
        print(f"WRONG: {', '.join(sorted(wrong))}")
        raise typer.Exit(1)


def _seconds_before(case: Named, known: Mapping[str, Any]) -> float:
    """What a case took before, or its network at the most; without end where nobody knows."""

    def spent(found: Mapping[str, Any]) -> float:
        made = found.get("contenders", {}).values()
        return float(found.get("seconds") or sum(own.get("build_s", 0.0) for own in made))

    if str(case) in known:
        return spent(known[str(case)])
    akin = [spent(own) for key, own in known.items() if key.startswith(f"{case.network}-b")]
    return max(akin, default=float("inf"))


def visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES may name them; "" for whatever there is, where that is not known."""
    if VISIBLE in os.environ:
        return os.environ[VISIBLE].split(",")
    from planck.device.cuda.bindings import open_driver

    try:
        return [str(number) for number in range(open_driver().count())] or [""]
    except PlanckError:  # of which each case tells
        return [""]


def places_of(gpus: Sequence[str], jobs: int) -> list[dict[str, str]]:
    """The environments of cases that run at the same time.

    Compilers share the processors, and are no more: what launches a graph that is timed needs one.
    """
    compilers = str(max(1, (os.cpu_count() or 1) // (jobs * len(gpus))))
    shared = {"PLANCK_JOBS": compilers, "TORCHINDUCTOR_COMPILE_THREADS": compilers}
    return [{**shared, **({VISIBLE: gpu} if gpu else {})} for _ in range(jobs) for gpu in gpus]


def _found(ended: Ended) -> dict[str, Any]:
    """What a case's process measured, contender by contender; or why it did not."""
    seconds = {"seconds": round(ended.seconds, 1)}
    lines = [line for line in ended.said.splitlines() if line.startswith('{"gpu"')]
    if lines:
        return {**json.loads(lines[-1]), **seconds}
    if ended.code < 0:
        return {"failed": "its time was over", **seconds}
    return {"failed": (ended.said.strip() or f"exit {ended.code}")[-2000:], **seconds}


def is_wrong(found: Mapping[str, Any]) -> bool:
    """Whether Planck's outputs are not the network's."""
    own = found.get("contenders", {}).get("planck", {})
    bound = own.get("tolerance")
    return "error" in own and bound is not None and not own["error"] <= bound


def row(key: str, found: Mapping[str, Any]) -> str:
    """A line of the table: milliseconds, and how many times as long as Planck the others take."""
    if "failed" in found:
        return f"{key:28} {found['failed'].splitlines()[-1][:100]}"
    cells = []
    us = {name: own["us"] for name, own in found["contenders"].items() if "us" in own}
    for name, own in found["contenders"].items():
        ratio = f" ({us[name] / us['planck']:.2f}x)" if "planck" in us and name in us else ""
        if name in us:
            cells.append(f"{name} {us[name] / 1e3:.3f} ms{ratio}")
        elif "failed" in own:
            cells.append(f"{name} {own['failed'].splitlines()[-1][:60]}")
    planck = found["contenders"].get("planck", {})
    if "error" in planck:
        cells.append(
            f"{'WRONG: ' * is_wrong(found)}error {planck['error']:.1e}, {planck['steps']} steps,"
            f" {planck['reference_steps']} references, built in {planck['build_s']} s"
        )
    return f"{key:28} " + "; ".join(cells)


def one(request: dict[str, Any]) -> dict[str, Any]:
    """Build the contenders of one case in this process, and time them when it is its turn."""
    start = time.perf_counter()
    import torch  # type: ignore[import-not-found]

    from bench.cuda_contenders import Case, Contender, Ready, ours, theirs
    from planck.device.cuda.bindings import open_driver
    from planck.device.cuda.device import Device
    from planck.tune.cuda.clock import gpu_turn

    case = Case(request["network"], request["batch"], request["precision"])
    stream = torch.cuda.Stream()
    gpu = torch.cuda.get_device_name()  # nothing can be asked of a GPU that has failed
    imported = time.perf_counter()
    makers = {
        "planck": lambda: ours(
            case, stream, request["level"], request["timing_cache"], request["sources"]
        ),
        "eager": lambda: theirs(case, stream, compiled=False),
        "inductor": lambda: theirs(case, stream, compiled=True),
    }
    found: dict[str, dict[str, Any]] = {name: {} for name in request["only"]}

    def tried(name: str, make: Any) -> list[Any]:
        try:
            return [make()]
        except Exception as error:
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:2000]}
            return []

    ready: list[tuple[str, Ready]] = [
        (name, own) for name in found for own in tried(name, makers[name])
    ]
    waiting = time.perf_counter()
    with nullcontext() if request["check"] else gpu_turn(Device(open_driver())):
        begun = time.perf_counter()
        made: list[Contender] = [own for name, make in ready for own in tried(name, make)]
        found |= {own.name: dict(own.facts) for own in made}
        if not request["check"]:
            launches = [own.launches for own in made]
            for own, us in zip(made, quietest(lambda: rounds_us(stream, launches)), strict=True):
                found[own.name] |= {
                    "us": statistics.median(us),
                    "rounds_us": [round(each, 2) for each in us],
                }
    spent = {
        "imports_s": imported - start,
        "waited_s": begun - waiting,
        "turn_s": time.perf_counter() - begun,
    }
    return {
        "gpu": gpu,
        "contenders": found,
        **{name: round(seconds, 1) for name, seconds in spent.items()},
    }


def quietest(measure: Callable[[], list[list[float]]]) -> list[list[float]]:
    """Rounds of all contenders, measured again while others' first runs fall into them."""

    def spread(times: list[list[float]]) -> float:
        return max((statistics.median(us) / min(us) for us in times), default=1.0)

    best = measure()
    for _ in range(TRIES - 1):
        if spread(best) <= SPREAD:
            break
        best = min(best, measure(), key=spread)
    return best


def rounds_us(stream: Any, contenders: Sequence[Sequence[Any]]) -> list[list[float]]:
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
