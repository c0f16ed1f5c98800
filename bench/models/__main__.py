"""Write models as files: `python -m bench.models resnet50 yolov8n -o models --batch 1`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.models import ALL, FOLDER, darknet, expand, path

DARKNET = {"yolov3_tiny": "yolov3-tiny", "yolov4_tiny": "yolov4-tiny"}


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"{', '.join(ALL)}; all; held-out")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder to write into")] = FOLDER,
    batch: Annotated[int, typer.Option(help="batch size")] = 1,
    small: Annotated[bool, typer.Option(help="reduced widths and sizes")] = False,
    weights: Annotated[
        bool, typer.Option(help="write Darknet cfg and weights beside the YOLO-tiny models")
    ] = False,
) -> None:
    """Write benchmark models as ONNX files (and Darknet's, where there are any)."""
    console = Console(stderr=True)
    for name in expand(names or ()):
        if name not in ALL:
            raise typer.BadParameter(f"no model {name!r}; there are {', '.join(ALL)}")
        file = path(name, batch, small, out)
        console.print(f"{file}  {file.stat().st_size / 1e6:.1f} MB", highlight=False)
        if weights and name in DARKNET:
            for written in darknet.write(DARKNET[name], out, batch=batch, small=small):
                console.print(f"{written}  {written.stat().st_size / 1e6:.1f} MB", highlight=False)


if __name__ == "__main__":
    typer.run(main)
