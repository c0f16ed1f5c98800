"""`planck inspect`: what a plan does step by step, or a model's graph after a stage."""

from __future__ import annotations

from typing import Annotated

import typer

from planck.cli.app import console, show_json
from planck.cli.options import AsJson, Building, Model, plan_of, stage_of, takes_building
from planck.errors import InputError
from planck.runtime.report import report as report_of


@takes_building
def inspect(
    model: Model,
    stage: Annotated[
        str | None, typer.Option(help="Print a model's graph after this stage: read, simplify, ...")
    ] = None,
    as_json: AsJson = False,
    *,
    building: Building,
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
        from planck.ir.text import text

        shown = text(stage_of(model, stage, building))
        if as_json:
            show_json({"stage": stage, "text": shown})
        else:
            print(shown, end="")
        return
    report = report_of(plan_of(model, building, not as_json))
    if as_json:
        show_json(report.to_json())
        return
    console.print(str(report), markup=False, highlight=False, soft_wrap=True)
