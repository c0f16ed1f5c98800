"""`planck bench`: how long an inference takes, beside another plan, and against the machine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from planck.benchmark.limits import Limits, load_limits, save_limits
from planck.benchmark.picture import draw
from planck.benchmark.roofline import roofline_of
from planck.benchmark.statistics import Latency, latency_of, ratio_of
from planck.benchmark.timing import Effort, time_in_turn, time_streams
from planck.cli.app import console, show_json
from planck.cli.options import AsJson, Building, InputFiles, Model, takes_building
from planck.cli.subject import Subject, take
from planck.errors import InputError, MissingExtraError
from planck.files import write_file
from planck.runtime.table import table

SLOWER: Final = 3  # the exit code of --fail-above
HOST_SECONDS: Final = 0.3  # for the runs that tell the host's time from the steps'


@takes_building
def bench(
    model: Model,
    iterations: Annotated[int, typer.Option(min=1, help="Timed inferences, at least.")] = 50,
    duration: Annotated[float, typer.Option(min=0, help="Seconds to time, at least.")] = 2.0,
    warmup: Annotated[int, typer.Option(min=0, help="Inferences before timing.")] = 5,
    streams: Annotated[
        int, typer.Option(min=1, help="Inferences at the same time, each with --threads.")
    ] = 1,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="On a GPU: copy inputs while others are computed.")
    ] = False,
    percentile: Annotated[
        list[float] | None, typer.Option(min=0, max=100, help="A further percentile.")
    ] = None,
    inputs: InputFiles = None,
    against: Annotated[
        Path | None, typer.Option(help="Another plan or model, timed in turn with this one.")
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(min=0, help="With --against: exit 3 if surely more than this times as slow."),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Time every step as well.")] = False,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Each step against what the machine could do.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the roofline: an .svg file.")] = None,
    measure_limits: Annotated[
        bool, typer.Option("--measure-limits", help="Measure the machine again for the roofline.")
    ] = False,
    export_times: Annotated[
        Path | None, typer.Option(help="Write every measured time to this JSON file.")
    ] = None,
    as_json: AsJson = False,
    *,
    building: Building,
) -> None:
    """Time a plan (or build a model and time it).

    \b
    Examples:
      planck bench yolov5s.plan --threads 2 --percentile 99.9
      planck bench yolov5s.plan --load-inputs images:picture.npy --export-times times.json
      planck bench yolov5s.plan --streams 2 --threads 1
      planck bench net.onnx --batch 8
      planck bench gpu.plan --overlap
      planck bench new.plan --against old.plan --fail-above 1.05
      planck bench yolov5s.plan --roofline --plot yolov5s.svg
      planck bench yolov5s.plan --profile --json > profile.json
    """
    looks = profile or roofline or plot is not None
    _check_options(against, fail_above, streams, looks, plot)
    asked = _Asked(
        Effort(warmup, iterations, duration), tuple(percentile or ()), export_times, as_json
    )
    with ExitStack() as stack:
        ready = partial(
            take, stack, building, inputs=inputs or [], streams=streams, overlap=overlap,
            progress=not as_json,
        )  # fmt: skip
        one = ready(model)
        if (roofline or plot is not None) and one.engine.plan.target.is_cuda:
            raise InputError(
                "planck draws no rooflines of GPUs: it measures the limits of processors alone",
                try_="--profile tells the time of each step",
            )
        if against is not None:
            _compare(one, ready(against), asked, fail_above)
            return
        result, latencies = _time(one, asked)
        steps = one.profile(latencies[0], duration if looks else HOST_SECONDS)
        result["host_us"] = steps.host_us
        report = None
        if roofline or plot is not None:
            limits = _limits(one, measure_limits)
            report = roofline_of(one.engine.plan, steps, limits)
            result["roofline"] = report.to_json()
        if profile:
            result["profile"] = steps.to_json()
        if plot is not None and report is not None:
            write_file(plot, draw(report).encode())
    if as_json:
        show_json(result)
        return
    if profile:
        _tell(str(steps))
    if roofline:
        _tell(str(report))
    _show([(one, latencies[0])], latencies[1:])
    images = f", {result['images_per_s']:.2f} images/s" if one.batch > 1 else ""
    _tell(f"{result['inferences_per_s']:.2f} inferences/s{images}")
    _tell(f"{steps.host_us:.1f} us of a call are not the steps' but the host's")
    if plot is not None:
        _tell(f"the roofline is drawn in {plot}")


@dataclass(frozen=True)
class _Asked:
    """What to measure, and what to do with it."""

    effort: Effort
    percentiles: tuple[float, ...]
    export: Path | None
    as_json: bool


def _time(one: Subject, asked: _Asked) -> tuple[dict[str, Any], list[Latency]]:
    """The times as JSON values; the latency over all streams, and of each if there are several."""
    measured = time_streams(one.calls(), asked.effort)
    _export(asked.export, one, {"streams_us": [s.times_us.tolist() for s in measured]})
    pooled = latency_of(np.concatenate([s.times_us for s in measured]), asked.percentiles)
    rate = sum(s.calls_per_s for s in measured)
    result = {**one.to_json(), **pooled.to_json(), **_throughput(rate, one.batch)}
    if len(measured) == 1:
        return result, [pooled]
    each = [latency_of(s.times_us, asked.percentiles) for s in measured]
    result["per_stream"] = [
        {**latency.to_json(), "inferences_per_s": s.calls_per_s}
        for latency, s in zip(each, measured, strict=True)
    ]
    return result, [pooled, *each]


def _check_options(
    against: Path | None, fail_above: float | None, streams: int, looks: bool, plot: Path | None
) -> None:
    """raises: BadParameter for options that exclude each other; InputError for another picture"""
    if fail_above is not None and against is None:
        raise typer.BadParameter("--fail-above needs --against: a ratio has two sides")
    if against is not None and (streams > 1 or looks):
        raise typer.BadParameter(
            "--against only compares times: give --streams, --profile, --roofline and --plot to"
            " each plan on its own"
        )
    if plot is not None and plot.suffix != ".svg":
        raise InputError(
            f"planck draws rooflines as SVG, not as {plot.suffix or plot.name}",
            try_=f"--plot {plot.with_suffix('.svg')}; browsers and rsvg-convert turn it into PNG",
        )


def _compare(one: Subject, other: Subject, asked: _Asked, fail_above: float | None) -> None:
    """Time two in turn, say how they compare, and exit 3 where --fail-above says so."""
    mine, theirs = time_in_turn([one.contender(), other.contender()], asked.effort)
    times = {"rounds_us": [times_us.tolist() for times_us in mine]}
    rival = {"model": str(other.path), "rounds_us": [times_us.tolist() for times_us in theirs]}
    _export(asked.export, one, {**times, "against": rival})
    sides = [
        (subject, latency_of(np.concatenate(rounds), asked.percentiles))
        for subject, rounds in ((one, mine), (other, theirs))
    ]
    ratio = ratio_of(mine, theirs)
    failed = fail_above is not None and ratio.surely_above(fail_above)
    if asked.as_json:
        first, second = (
            {**s.to_json(), **row.to_json(), **_throughput(1e3 / row.mean_ms, s.batch)}
            for s, row in sides
        )
        show_json({**first, "against": second, "ratio": asdict(ratio), "failed": failed})
    else:
        _show(sides, [])
        _tell(f"{one.path.name} takes {ratio} times as long, over {ratio.rounds} rounds")
        if failed:
            _tell(f"that is surely more than {fail_above:g}")
    if failed:
        raise typer.Exit(SLOWER)


def _throughput(inferences_per_s: float, batch: int) -> dict[str, float]:
    return {"inferences_per_s": inferences_per_s, "images_per_s": inferences_per_s * batch}


def _limits(one: Subject, anew: bool) -> Limits:
    """The machine's limits: those kept, or measured and kept. raises: MissingExtraError"""
    target, threads = one.engine.plan.target, one.threads
    known = None if anew else load_limits(target, threads)
    if known is not None:
        return known
    try:
        from planck.tune.limits import measure_limits
    except ImportError as error:
        raise MissingExtraError(
            f"this machine's limits with {threads} threads are not known yet",
            know=f"measuring them takes the compiler: {error}",
            try_="pip install llvmlite; what it measures is kept",
        ) from error
    limits = measure_limits(target, threads, one.contexts[0].cpus or None)
    save_limits(target, limits)
    return limits


def _export(path: Path | None, one: Subject, times: dict[str, Any]) -> None:
    """Every measured time as JSON. raises: FileError"""
    if path is not None:
        write_file(path, json.dumps({**one.to_json(), **times}).encode())


def _show(subjects: list[tuple[Subject, Latency]], streams: list[Latency]) -> None:
    """Latencies in milliseconds, a row for each model, and for each stream of the only one."""
    rows = [(s.path.name, latency) for s, latency in subjects]
    rows += [(f"stream {number}", latency) for number, latency in enumerate(streams)]
    head = ("ms", "runs", *rows[0][1].row())
    cells = [
        (name, str(latency.runs), *(f"{ms:.3f}" for ms in latency.row().values()))
        for name, latency in rows
    ]
    _tell(f"{subjects[0][0].what}\n{table(head, cells)}")


def _tell(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
