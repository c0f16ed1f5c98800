"""`planck ops`: what Planck can read and compile."""

from __future__ import annotations

from rich.table import Table

from planck.cli.app import console, show_json
from planck.cli.model import AsJson


def ops(as_json: AsJson = False) -> None:
    """List the operators of the graph IR, and what each frontend reads.

    \b
    Examples:
      planck ops
      planck ops --json
    """
    from planck.frontends.darknet.layers import LAYERS
    from planck.frontends.onnx import operators
    from planck.ops import OPERATORS
    from planck.ops.pointwise import FUNCTIONS

    kernel = [
        {"name": op.__name__, "compiled": op.body is not op.__mro__[-2].body, "doc": _first(op)}
        for op in OPERATORS
    ]
    content = {
        "graph": kernel,
        "pointwise": sorted(FUNCTIONS),
        "onnx": sorted(operators()),
        "darknet": sorted(LAYERS),
    }
    if as_json:
        show_json(content)
        return
    table = Table("operator", "compiled", "")
    for row in kernel:
        table.add_row(str(row["name"]), "yes" if row["compiled"] else "reference", str(row["doc"]))
    console.print(table)
    for key, title in (
        ("pointwise", "functions of Pointwise"),
        ("onnx", "ONNX operators"),
        ("darknet", "Darknet layers"),
    ):
        names = content[key]
        console.print(f"[bold]{len(names)} {title}[/bold]: {', '.join(map(str, names))}")


def _first(op: type) -> str:
    return (op.__doc__ or "").strip().splitlines()[0]
