"""`python -m bench.torch_models --full --exporter dynamo resnet50 -o DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.torch_models import OPSETS, Case, Exporter, export
from bench.torch_models.full import FULL, full
from bench.torch_models.narrow import NARROW


def main(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write into")],
    names: Annotated[
        list[str] | None, typer.Argument(help=f"with --full: {', '.join(FULL)}; all if left out")
    ] = None,
    wide: Annotated[bool, typer.Option("--full", help="the widths of bench.models")] = False,
    exporter: Annotated[
        str, typer.Option(help="script (TorchScript), dynamo (torch.export), or both")
    ] = "both",
    batch: Annotated[int, typer.Option(help="batch size of full networks")] = 1,
    symbolic: Annotated[
        bool, typer.Option(help="leave the batch of full networks open, and BERT's length")
    ] = False,
) -> None:
    """Export networks as NAME-EXPORTER.onnx; with an open batch as NAME-EXPORTER-symbolic.onnx."""
    cases: dict[str, Case] = {case.make.__name__.lower(): case for case in NARROW}
    if wide:
        cases = {name: full(name, batch, symbolic) for name in FULL}
    for name in names or ():
        if name not in cases:
            raise typer.BadParameter(f"no network {name!r}; there are {', '.join(cases)}")
    if exporter not in (*OPSETS, "both"):
        raise typer.BadParameter(f"no exporter {exporter!r}; there are {', '.join(OPSETS)}, both")
    exporters: list[Exporter] = [one for one in OPSETS if exporter in (one, "both")]
    suffix = "-symbolic" if wide and symbolic else ""
    for name in names or cases:
        for one in exporters:
            file = export(cases[name], one, out / f"{name}-{one}{suffix}.onnx")
            typer.echo(f"{file}  {file.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    typer.run(main)
