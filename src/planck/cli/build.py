"""`planck build`: a model -> a plan file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from planck.cli.app import console, show_json
from planck.cli.options import AsJson, Building, engine_of, stage_of, takes_building
from planck.errors import InputError
from planck.files import check_writable
from planck.runtime.report import accuracy_line


@takes_building
def build(
    model: Annotated[Path, typer.Argument(help="The model: .onnx, .cfg, .graph")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The plan; MODEL.plan if left out.")
    ] = None,
    build_seconds: Annotated[
        float | None, typer.Option(help="Stop measuring after this; the best so far is taken.")
    ] = None,
    accuracy: Annotated[
        float, typer.Option(help="Most that outputs may be from float64; 0 checks nothing.")
    ] = 1e-4,
    weight_growth_mb: Annotated[
        float | None,
        typer.Option(
            help="On a CPU: MB that faster kernels' weights may take beyond the model's; 48, or"
            " 75 % of the weights if that is more, where left out."
        ),
    ] = None,
    stop_after: Annotated[
        str | None, typer.Option(help="Stop after this stage and write its graph as text.")
    ] = None,
    as_json: AsJson = False,
    *,
    building: Building,
) -> None:
    """Compile a model for this machine.

    \b
    Examples:
      planck build yolov5s.onnx -o yolov5s.plan
      planck build net.onnx --shape images:4x3x640x640 --threads 2 --timing-cache planck.cache
      planck build yolov4-tiny.cfg --weights yolov4-tiny.weights
      planck build net.onnx --precision bf16 -o net.plan
      planck build net.onnx --target cuda --precision fp16 -o net.plan
      planck build net.onnx --stop-after fuse -o net.graph
    """
    if stop_after:
        from planck.ir.text import save

        path = output or _graph_beside(model)
        check_writable(path)
        graph = stage_of(model, stop_after, building)
        save(graph, path)
        count = len(graph.nodes)
        if as_json:
            show_json({"graph": str(path), "stage": stop_after, "nodes": count})
        else:
            text = f"{path}: the graph after {stop_after}, {count} nodes"
            console.print(text, soft_wrap=True)
        return
    path = output or model.with_suffix(".plan")
    check_writable(path)
    start = time.perf_counter()
    engine = engine_of(
        model,
        building,
        seconds=build_seconds,
        accuracy=accuracy,
        weight_growth_mb=weight_growth_mb,
        progress=not as_json,
    )
    engine.save(path)
    report = engine.inspect()
    summary = {
        "plan": str(path),
        "bytes": path.stat().st_size,
        "seconds": round(time.perf_counter() - start, 2),
        "steps": len(report.steps),
        "reference_steps": report.reference_steps,
        "target": report.target,
        "threads": report.threads,
        "accuracy": report.accuracy,
        "tuned": report.tuned,
    }
    if as_json:
        show_json(summary)
        return
    cuda = engine.plan.target.is_cuda
    how = ("timed" if report.tuned else "not timed") if cuda else f"{report.threads} threads"
    console.print(
        f"[bold]{path}[/bold]: {summary['steps']} steps, {path.stat().st_size / 1e6:.1f} MB,"
        f" {report.target}, {how}, in {summary['seconds']} s",
        soft_wrap=True,
    )
    if report.accuracy and report.accuracy["replaced"]:
        console.print(accuracy_line(report.accuracy), soft_wrap=True)
    if report.reference_steps:
        console.print(
            f"{report.reference_steps} steps run slowly; `planck inspect {path}` says which",
            soft_wrap=True,
        )


def _graph_beside(model: Path) -> Path:
    """Where a stage's graph goes if nothing is said. raises: InputError if the model is there"""
    path = model.with_suffix(".graph")
    if path.resolve() == model.resolve():
        raise InputError(
            "the graph would overwrite the model", at=str(model), try_="name another file: -o ..."
        )
    return path
