"""`planck why`: for one layer, each tactic's time or its reason for refusing."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from planck.cli.app import console, show_json, table
from planck.cli.options import AsJson, Building, Model, plan_of, takes_building
from planck.errors import InputError
from planck.plan.model import Plan, Step


@takes_building
def why(
    model: Model,
    layer: Annotated[
        str, typer.Argument(help="A step's number or name, or part of the layer's own name.")
    ],
    as_json: AsJson = False,
    *,
    building: Building,
) -> None:
    """Say why a layer runs the way it does.

    \b
    Examples:
      planck why yolov5s.plan /model.0/conv/Conv
      planck why yolov5s.plan 12
    """
    plan = plan_of(model, building, not as_json)
    number, step = _find(plan, layer)
    timings: list[dict[str, Any]] = plan.build.get("timings", {}).get(step.kernel, [])
    reason = plan.build.get("references", {}).get(step.name, "")
    layouts = dict(plan.build.get("layouts", [])).get(step.name, "")
    if as_json:
        show_json(
            {
                "step": number,
                "name": step.name,
                "origin": list(step.origin),
                "kernel": step.kernel,
                "tactic": step.tactic,
                "config": step.config,
                "considered": timings,
                "reference": reason,
                "layouts": layouts,
            }
        )
        return
    console.print(f"step {number}, {step.name}: {', '.join(step.origin)}", markup=False)
    if not step.symbol:
        console.print("It runs by its NumPy reference, because no tactic compiles it:")
        console.print("\n".join(f"  {part}" for part in reason.split("; ")), markup=False)
        return
    tried = table("tactic", "configuration", "us", "error", "")
    for row in timings:
        chosen = row["tactic"] == step.tactic and row.get("config") == step.config
        shown = ", ".join(f"{k}={v}" for k, v in row.get("config", {}).items())
        untimed = "" if "refused" in row else "not timed"
        error = row.get("error")
        tried.add_row(
            row["tactic"],
            escape(shown),
            f"{row['us']:.1f}" if row.get("us") else untimed,
            "" if error is None else f"{error:.1e}",
            escape(row.get("refused", "chosen" if chosen else "")),
        )
    console.print(tried, highlight=False)
    for value, reason in plan.build.get("copies", []):
        if value == step.name:
            console.print(f"a copy stands here because {reason}", markup=False)
    if layouts:
        console.print(layouts, markup=False)


def _find(plan: Plan, layer: str) -> tuple[int, Step]:
    """raises: InputError listing what comes near"""
    steps = list(enumerate(plan.steps))
    if layer.isdigit() and int(layer) < len(steps):
        return steps[int(layer)]
    found = [row for row in steps if row[1].name == layer]
    found = found or [row for row in steps if any(o.endswith(layer) for o in row[1].origin)]
    found = found or [row for row in steps if any(layer in o for o in row[1].origin)]
    if len(found) == 1 or (found and layer == found[0][1].name):
        return found[0]
    names = [f"{n}: {s.name} ({', '.join(s.origin)})" for n, s in (found or steps)[:12]]
    raise InputError(
        f"{layer!r} names {'several layers' if found else 'no layer'} of the plan",
        know="; ".join(names),
        try_="give the step's number",
    )
