"""`planck inspect`: what a plan does step by step, or a model's graph after a stage."""

from __future__ import annotations

from typing import Annotated

import typer

from planck.cli.app import console, show_json
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
    parse_shapes,
)
from planck.errors import InputError


def inspect(
    model: Model,
    stage: Annotated[
        str | None, typer.Option(help="Print a model's graph after this stage: read, simplify, ...")
    ] = None,
    target: Target = "cpu",
    threads: Threads = None,
    shape: Shapes = None,
    weights: WeightsFile = None,
    timing_cache: Cache = None,
    level: Level = 3,
    as_json: AsJson = False,
) -> None:
    """Show steps, tactics, shapes, bytes and origins of a plan, or the text of a stage.

    \b
    Examples:
      planck inspect yolov5s.plan
      planck inspect yolov5s.onnx --stage fuse
    """
    if stage:
        if model.suffix == ".plan":
            raise InputError(
                "a plan has no stages left", try_="give the model it was built from to --stage"
            )
        from planck.compiler.api import stage as graph_after
        from planck.ir.text import text

        graph = graph_after(
            model, stage, target=target, shapes=parse_shapes(shape), weights=weights
        )
        print(text(graph), end="")
        return
    report = engine_of(
        model,
        target=target,
        threads=threads,
        shapes=shape,
        weights=weights,
        timing_cache=timing_cache,
        level=level,
        progress=not as_json,
    ).inspect()
    if as_json:
        show_json(report.to_json())
        return
    console.print(str(report), markup=False, highlight=False, soft_wrap=True)
