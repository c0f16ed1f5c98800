"""`planck ops`: what Planck can read and compile."""

from __future__ import annotations

from rich.markup import escape

from planck.cli.app import console, show_json, table
from planck.cli.options import AsJson
from planck.ir.graph import Op


def ops(as_json: AsJson = False) -> None:
    """List the operators of the graph IR, and what each frontend reads.

    \b
    Examples:
      planck ops
      planck ops --json
    """
    from planck.frontends.darknet.layers import LAYERS
    from planck.frontends.onnx.tables import TRANSLATIONS
    from planck.ops import OPERATORS
    from planck.ops.pointwise import FUNCTIONS
    from planck.ops.region import Region

    graph = [
        {"name": op.__name__, "compiled": _compiled(op), "doc": _first(op)}
        for op in sorted(OPERATORS, key=lambda op: op.__name__)
        if op is not Region
    ]
    others = {
        "pointwise": sorted(FUNCTIONS),
        "onnx": sorted(f"{domain}::{name}" if domain else name for domain, name in TRANSLATIONS),
        "darknet": sorted(LAYERS),
    }
    if as_json:
        show_json({"graph": graph, **others})
        return
    rows = table("operator", "compiled", "")
    for row in graph:
        how = "yes" if row["compiled"] else "reference"
        rows.add_row(str(row["name"]), how, escape(str(row["doc"])))
    console.print(rows, highlight=False)
    for key, title in (
        ("pointwise", "functions of Pointwise"),
        ("onnx", "ONNX operators"),
        ("darknet", "Darknet layers"),
    ):
        names = others[key]
        console.print(f"\n[bold]{len(names)} {title}[/bold]\n{', '.join(names)}", highlight=False)


def _compiled(op: type[Op]) -> bool:
    """Whether a tactic can take it: by its body, or because one is made for it."""
    from planck.tactics import WITHOUT_BODY

    return op in WITHOUT_BODY or (op.body is not Op.body and not op.reference_only)


def _first(op: type[Op]) -> str:
    return (op.__doc__ or "").strip().splitlines()[0]
