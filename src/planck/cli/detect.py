"""`planck detect`: pictures in, boxes out, drawn and as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from planck.cli.app import console, show_json, table
from planck.cli.options import AsJson, Building, Model, engine_of, takes_building
from planck.errors import FileError, InputError, PlanckError
from planck.files import make_folder, write_file


@takes_building
def detect(
    model: Model,
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for pictures and JSON.")],
    labels: Annotated[
        Path | None, typer.Option(help="Names of the classes, one a line; the model's own if left.")
    ] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Least score.")] = 0.25,
    iou: Annotated[float, typer.Option(min=0, max=1, help="Overlap that suppresses.")] = 0.45,
    as_json: AsJson = False,
    *,
    building: Building,
) -> None:
    """Find objects on pictures with a YOLO model (v3, v4, v5, v8 heads).

    Each picture gives OUTPUT/name.png with its boxes drawn, and OUTPUT/detections.json lists all.
    A picture that cannot be read is reported and the others go on; the exit code is then 1.

    \b
    Examples:
      planck detect yolov8n.plan street.jpg -o found/
      planck detect yolov4-tiny.cfg pictures/ -o found/ --labels coco.names --score 0.4
    """
    from planck import vision

    files = _pictures(images)
    engine = engine_of(model, building, progress=not as_json)
    settings = vision.Settings(score=score, iou=iou)
    names = _names(labels) if labels else vision.labels_of(engine.metadata)
    detector = vision.Detector(engine, names, settings=settings)
    make_folder(output)
    results: list[dict[str, Any]] = []
    taken: set[str] = set()
    for file in files:
        row: dict[str, Any] = {"image": str(file)}
        results.append(row)
        try:
            pixels = vision.read_image(file)
            start = time.perf_counter()
            found = detector.detect(pixels)
            row["ms"] = round((time.perf_counter() - start) * 1e3, 3)
            drawn = output / _free_name(file, taken)
            vision.write_image(drawn, vision.draw(pixels, found))
        except PlanckError as error:
            row["error"] = str(error)
            continue
        row["drawn"] = str(drawn)
        row["detections"] = [
            {
                "label": d.label,
                "class_id": d.class_id,
                "score": round(d.score, 5),
                "box_px": [round(edge, 2) for edge in d.box_px],
            }
            for d in found
        ]
    write_file(output / "detections.json", json.dumps(results, indent=2).encode())
    if as_json:
        show_json(results)
    else:
        _show(results, output)
    if any("error" in row for row in results):
        raise typer.Exit(1)


_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


def _pictures(paths: list[Path]) -> list[Path]:
    """The files named, and the pictures of the folders named."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        else:
            files.append(path)
    if not files:
        raise InputError(
            "there are no pictures to detect on", know=f"looked in {', '.join(map(str, paths))}"
        )
    return files


def _names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read labels from {path}", know=str(error)) from error


def _free_name(file: Path, taken: set[str]) -> str:
    """name.png, or name-2.png where two pictures of different folders share a name."""
    name, number = f"{file.stem}.png", 1
    while name in taken:
        number += 1
        name = f"{file.stem}-{number}.png"
    taken.add(name)
    return name


def _show(results: list[dict[str, Any]], output: Path) -> None:
    shown = table("picture", "label", "score", "x1 y1 x2 y2", "ms")
    for row in results:
        name = Path(row["image"]).name
        if "error" in row:
            shown.add_row(name, f"[red]{escape(row['error'].splitlines()[0])}", "", "", "")
            continue
        for number, d in enumerate(row["detections"] or [{}]):
            first = number == 0
            box = " ".join(f"{edge:.0f}" for edge in d.get("box_px", ()))
            shown.add_row(
                name if first else "",
                d.get("label", "nothing"),
                f"{d['score']:.2f}" if d else "",
                box,
                f"{row['ms']:.1f}" if first else "",
            )
    console.print(shown)
    console.print(f"pictures and detections.json are in [bold]{output}[/bold]", soft_wrap=True)
