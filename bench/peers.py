"""Planck beside other runtimes, in one run, on the same cores: `python -m bench.peers resnet50`.

How the comparison is kept fair:

- Every runtime lives in its own process (`bench.worker`), pinned to the same CPUs, with the same
  number of threads, the same file and the same inputs, set up as in `bench.runners`.
- Rounds are interleaved: each runtime runs a short slice in turn, many times over, and the turn
  starts one place later each round. A change of clock speed or a noisy neighbour meets all alike.
- Outside its slice a process is stopped by SIGSTOP. ONNX Runtime's threads go on spinning after a
  run, and a runtime that sleeps would pay for one that spins. Each slice starts with runs that do
  not count, in which caches and threads wake up.
- Shown are the median and the 10th and 90th percentile of all runs. The ratio is the time of the
  fastest rival over Planck's, both medians: above 1 Planck is faster.
- Whoever compiles ahead of time does so in a process of its own; its worker loads the file that
  came out, as users deploy it. Planck's worker loads a plan.
- Open dimensions are bound in the file itself (`bench.shapes`), so that all runtimes are given the
  same fixed shapes: by --shape, and 1 for a first axis that it leaves out.
- Peak memory is the most that was resident in the worker (VmHWM) after loading and all runs. It
  holds the interpreter, NumPy, the inputs and outputs, and file mappings as far as they were
  touched. Beside it stands the peak of a process that only imports the runtime: the difference is
  the model's share.
- --isa avx2 holds to that ISA whoever can be held: Planck by PLANCK_CPU, oneDNN (OpenVINO, PyTorch)
  and PyTorch's own kernels by their variables. ONNX Runtime, MNN and ncnn ask the processor alone,
  and so does the MLAS in OpenVINO, to which products go that have no more than a bias behind them:
  most of a transformer's (docs/performance.md).
- Outputs of all are compared with those of the first rival that works: largest absolute
  difference over largest absolute value.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from rich.console import Console
from rich.table import Table

from bench import models
from bench.runners import NAMES, PREPARE, relative_error
from bench.shapes import Shapes, bound, parse_shapes

OURS = "planck"
WARM_SHARE = 0.2  # of each slice, in addition to it
HELD = ("planck", "openvino", "torch")  # runtimes that keep to an ISA below the processor's
SLICE_MARGIN_S = 120.0  # for a slice of slow runs, before a process counts as hung


@dataclass
class Result:
    """What one runtime did on one model; times in us unless their names say otherwise."""

    runtime: str
    version: str = ""
    failed: str = ""
    build_s: float = 0.0  # of what is compiled ahead of time
    load_s: float = 0.0
    first_ms: float = 0.0
    runs: int = 0
    median_us: float = 0.0
    p10_us: float = 0.0
    p90_us: float = 0.0
    relative_error: float | None = None
    peak_bytes: int = 0  # of the process after loading and all runs
    import_bytes: int = 0  # of a process that only imports the runtime
    round_medians_us: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """What all runtimes of a comparison share."""

    threads: int
    precision: str
    seconds: float
    slice_s: float
    build_timeout_s: float
    pythons: dict[str, str]
    isa: str = ""  # all that the processor has

    @property
    def environment(self) -> dict[str, str]:
        """What the runtimes are told about the ISA."""
        if not self.isa:
            return {}
        return {
            "PLANCK_CPU": self.isa,
            "ONEDNN_MAX_CPU_ISA": self.isa.upper(),
            "ATEN_CPU_CAPABILITY": self.isa,
        }


class WorkerError(Exception):
    """A runtime that could not load, run or answer in time."""


class Worker:
    """A runtime's process, stopped whenever it is not asked to do something."""

    def __init__(self, runtime: str, python: str, environment: Mapping[str, str]) -> None:
        self.runtime = runtime
        self._process = subprocess.Popen(
            [python, "-m", "bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,  # so that its compilers end with it
        )

    def ask(self, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Wake the process, give it one command, wait for the reply, stop the process again.

        raises: WorkerError if the command failed, the process died, or the time is over
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.send_signal(signal.SIGCONT)
            process.stdin.write(json.dumps(command).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"process ended ({_death(process)})") from error
        ready, _, _ = select.select([process.stdout], [], [], timeout_s)
        if not ready:
            raise WorkerError(f"no answer in {timeout_s:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise WorkerError(f"process ended ({_death(process)})")
        process.send_signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        if not reply["ok"]:
            raise WorkerError(reply["reason"])
        return reply

    def close(self) -> None:
        """End the process, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def _death(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:
        return "its pipe is closed"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@dataclass
class Entry:
    """A runtime that runs a model: what it did, its process while it lives, its times in us."""

    result: Result
    worker: Worker | None = None
    times: list[float] = field(default_factory=list)

    def fail(self, error: WorkerError) -> None:
        """Note why it is out, and end its process."""
        self.result.failed = str(error)
        self.close()

    def close(self) -> None:
        """End its process, if it has one."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None


def compare(
    model: Path, runtimes: Sequence[str], settings: Settings, shapes: Shapes | None = None
) -> list[Result]:
    """Load a model in every runtime, check the outputs, time in interleaved rounds.

    shapes: of inputs with open dimensions, see `bench.shapes.bound`
    raises: ValueError for dimensions that stay open, and shapes that do not fit
    """
    return compare_files({model: runtimes}, settings, shapes)[0]


def compare_files(
    runtimes: Mapping[Path, Sequence[str]], settings: Settings, shapes: Shapes | None = None
) -> list[list[Result]]:
    """As `compare`, of several files, each with its runtimes, all timed in the same rounds."""
    entries = [[Entry(Result(runtime)) for runtime in named] for named in runtimes.values()]
    everyone = [entry for row in entries for entry in row]
    with tempfile.TemporaryDirectory() as root:
        try:
            for number, (model, row) in enumerate(zip(runtimes, entries, strict=True)):
                folder = Path(root, str(number))
                folder.mkdir()
                _load_all(bound(model, shapes or {}, folder), folder, row, settings)
                _check(folder, row)
            for turn in range(max(1, round(settings.seconds / settings.slice_s))):
                alive = [entry for entry in everyone if entry.worker is not None]
                for place in range(len(alive)):
                    _one_slice(alive[(place + turn) % len(alive)], settings)
        finally:
            for entry in everyone:
                entry.close()
    for entry in everyone:
        if entry.times and not entry.result.failed:
            _summarise(entry.result, entry.times)
    return [[entry.result for entry in row] for row in entries]


def _load_all(model: Path, folder: Path, entries: list[Entry], settings: Settings) -> None:
    feed = models.inputs(onnx.load(model, load_external_data=False))
    np.savez(folder / "inputs.npz", allow_pickle=False, **feed)
    for place, entry in enumerate(entries):
        try:
            _load(model, folder, place, entry, settings)
        except WorkerError as error:
            entry.fail(error)


def _load(model: Path, folder: Path, place: int, entry: Entry, settings: Settings) -> None:
    result = entry.result
    file = str(model)
    shared = {
        "runner": result.runtime,
        "threads": settings.threads,
        "precision": settings.precision,
        "cpus": sorted(os.sched_getaffinity(0))[: settings.threads],
    }
    if result.runtime in PREPARE:
        file = str(folder / f"{place}.prepared")
        prepare = {"do": "prepare", "model": str(model), "out": file, **shared}
        result.build_s = _ask_once(result.runtime, prepare, settings)["build_s"]
    imported = _ask_once(result.runtime, {"do": "import", **shared}, settings)
    result.import_bytes = imported["peak_bytes"]
    entry.worker = _worker(result.runtime, settings)
    load = {
        "do": "load",
        "model": file,
        "inputs": str(folder / "inputs.npz"),
        "outputs": str(folder / f"{place}.npz"),
        **shared,
    }
    reply = entry.worker.ask(load, settings.build_timeout_s)
    result.load_s, result.first_ms = reply["load_s"], reply["first_ms"]
    result.version = reply["version"]


def _ask_once(runtime: str, command: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The reply of a process that does nothing else."""
    worker = _worker(runtime, settings)
    try:
        return worker.ask(command, settings.build_timeout_s)
    finally:
        worker.close()


def _worker(runtime: str, settings: Settings) -> Worker:
    python = settings.pythons.get(runtime, sys.executable)
    return Worker(runtime, python, settings.environment)


def _check(folder: Path, entries: list[Entry]) -> None:
    outputs = {}
    for place, entry in enumerate(entries):
        if entry.worker is not None:
            with np.load(folder / f"{place}.npz") as stored:
                outputs[entry.result.runtime] = dict(stored)
    truth = next((arrays for runtime, arrays in outputs.items() if runtime != OURS), None)
    if truth is not None:
        for entry in entries:
            if entry.worker is not None:
                arrays = outputs[entry.result.runtime]
                entry.result.relative_error = relative_error(arrays, truth)


def _one_slice(entry: Entry, settings: Settings) -> None:
    assert entry.worker is not None
    command = {"do": "slice", "seconds": settings.slice_s, "warm": WARM_SHARE * settings.slice_s}
    try:
        reply = entry.worker.ask(command, settings.slice_s + SLICE_MARGIN_S)
    except WorkerError as error:
        entry.fail(error)
        return
    entry.times += reply["us"]
    entry.result.peak_bytes = reply["peak_bytes"]
    entry.result.round_medians_us.append(statistics.median(reply["us"]))


def _summarise(result: Result, times: list[float]) -> None:
    result.runs = len(times)
    result.p10_us, result.median_us, result.p90_us = (
        float(q) for q in np.quantile(times, (0.1, 0.5, 0.9))
    )


def ratio(results: Sequence[Result]) -> float | None:
    """The fastest rival's median over Planck's; None if either is missing."""
    ours = [r.median_us for r in results if r.runtime == OURS and r.runs]
    theirs = [r.median_us for r in results if r.runtime != OURS and r.runs]
    return min(theirs) / ours[0] if ours and theirs else None


def table_of(measured: dict[str, list[Result]], settings: Settings) -> Table:
    """One row a model, one column a runtime, and the ratio."""
    runtimes = list(dict.fromkeys(r.runtime for results in measured.values() for r in results))
    held = f", {settings.isa} for {', '.join(HELD)} alone" if settings.isa else ""
    title = f"{settings.precision}, {settings.threads} threads{held}; ms: median, p10 to p90"
    table = Table("model", *runtimes, "best rival / planck", "worst error", title=title)
    for name, results in measured.items():
        cells = []
        for result in results:
            spread = f"{result.p10_us / 1e3:.3g} to {result.p90_us / 1e3:.3g}"
            cells.append(f"{result.median_us / 1e3:.3f}\n{spread}" if result.runs else "failed")
        factor = ratio(results)
        errors = [(r.relative_error, r.runtime) for r in results if r.relative_error is not None]
        cells.append("" if factor is None else f"{factor:.2f}")
        cells.append("{:.1e}\n{}".format(*max(errors)) if errors else "")
        table.add_row(name, *cells)
    return table


def memory_of(measured: dict[str, list[Result]]) -> Table:
    """One row a model, one column a runtime: peak memory, and of it what importing takes."""
    runtimes = list(dict.fromkeys(r.runtime for results in measured.values() for r in results))
    table = Table("model", *runtimes, title="peak memory of the process, MB (of it by importing)")
    for name, results in measured.items():
        cells = [
            f"{r.peak_bytes / 1e6:.0f} ({r.import_bytes / 1e6:.0f})" if r.runs else "failed"
            for r in results
        ]
        table.add_row(name, *cells)
    return table


def report(measured: dict[str, list[Result]], settings: Settings) -> dict[str, Any]:
    """Everything that was measured, as data for a JSON file."""
    return {
        "machine": machine(),
        "settings": asdict(settings),
        "models": {
            name: {"ratio": ratio(results), "runtimes": [asdict(r) for r in results]}
            for name, results in measured.items()
        },
    }


def _before(file: Path | None, settings: Settings) -> dict[str, Any]:
    """The models of an earlier report in this file.

    raises: typer.BadParameter if it is one of other settings
    """
    if file is None or not file.exists():
        return {}
    found = json.loads(file.read_text())
    if found["settings"] != asdict(settings):
        raise typer.BadParameter(f"{file} has figures of other settings: name another file")
    models: dict[str, Any] = found["models"]
    return models


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    return next((row.split(":")[1].strip() for row in rows if row.startswith("model name")), "")


def main(
    names: Annotated[
        list[str], typer.Argument(help=f"model files, all, held-out, or: {', '.join(models.ALL)}")
    ],
    batch: Annotated[int, typer.Option(help="batch size of the models made here")] = 1,
    threads: Annotated[int, typer.Option(help="threads of every runtime")] = 2,
    seconds: Annotated[float, typer.Option(help="measured time for each runtime and model")] = 8,
    slice_s: Annotated[float, typer.Option("--slice", help="seconds of one turn")] = 0.5,
    runtimes: Annotated[
        str, typer.Option(help="which, in order, with commas; the first rival is the reference")
    ] = ",".join(NAMES),
    plugin: Annotated[
        list[str] | None, typer.Option(help="a further runtime, module:function")
    ] = None,
    python: Annotated[
        list[str] | None, typer.Option(help="runtime=interpreter, for one installed elsewhere")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16, int8")] = "fp32",
    shape: Annotated[
        list[str] | None, typer.Option(help="shape of an open input: images:1x3x640x640")
    ] = None,
    isa: Annotated[str, typer.Option(help=f"avx2: hold {', '.join(HELD)} to it")] = "",
    small: Annotated[bool, typer.Option(help="the small variants of the models")] = False,
    build_timeout: Annotated[float, typer.Option(help="seconds allowed for loading")] = 900,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="write all figures here, beside those it has")
    ] = None,
) -> None:
    """Time models in Planck and other runtimes, side by side."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    pythons = dict(entry.split("=", 1) for entry in python or ())
    settings = Settings(threads, precision, seconds, slice_s, build_timeout, pythons, isa)
    chosen = [runtime for runtime in runtimes.split(",") if runtime] + (plugin or [])
    measured: dict[str, list[Result]] = {}
    before = _before(json_out, settings)
    try:
        shapes = parse_shapes(shape or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    for name in models.expand(names):
        file = Path(name)
        if file.suffix != ".onnx":
            if name not in models.ALL:
                raise typer.BadParameter(f"no model {name!r}; there are {', '.join(models.ALL)}")
            file = models.path(name, batch, small)
        try:
            results = compare(file, chosen, settings, shapes)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        measured[file.stem] = results
        for result in results:
            if result.failed:
                console.print(
                    f"{file.stem}: {result.runtime} failed: {result.failed}", markup=False
                )
        if json_out is not None:
            found = report(measured, settings)
            found["models"] = before | found["models"]
            json_out.parent.mkdir(parents=True, exist_ok=True)
            json_out.write_text(json.dumps(found, indent=1) + "\n")
    console.print(table_of(measured, settings))
    console.print(memory_of(measured))


if __name__ == "__main__":
    typer.run(main)
