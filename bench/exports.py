"""PyTorch's exports beside the files of bench.models: `python -m bench.exports FOLDER resnet50`.

FOLDER holds what `python -m bench.torch_models --full` wrote. Of each architecture three files are
timed in the same rounds: the export of each exporter in every runtime, and in Planck the file that
bench.models builds node by node. An exporter's plumbing costs nothing if the three times of Planck
are equal. See bench.peers for how runtimes are compared.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import models
from bench.peers import OURS, Result, Settings, compare_files, machine, ratio
from bench.shapes import parse_shapes

EXPORTERS = ("script", "dynamo")
Measured = dict[str, dict[str, list[Result]]]  # architecture -> exporter or "models" -> runtimes


def measure(
    name: str, folder: Path, suffix: str, runtimes: list[str], settings: Settings
) -> dict[str, list[Result]]:
    """The results of an architecture's exports, and of bench.models' file under "models"."""
    files = {exporter: folder / f"{name}-{exporter}{suffix}.onnx" for exporter in EXPORTERS}
    chosen = {file: runtimes for file in files.values()} | {models.path(name): [OURS]}
    # the length is the one open dimension that is not a batch
    shapes = parse_shapes(["input_ids:1x128"] if name == "bert_base" else [])
    results = compare_files(chosen, settings, shapes)
    return dict(zip((*EXPORTERS, "models"), results, strict=True))


def table_of(measured: Measured, settings: Settings) -> Table:
    """One row an export: Planck's time, that of bench.models' file, the rivals, the error."""
    columns = ("network", "exporter", OURS, "bench.models", "best rival / planck", "worst error")
    table = Table(*columns, title=f"{settings.threads} threads; median ms")
    for name, files in measured.items():
        hand = files["models"][0]
        for exporter in EXPORTERS:
            results = files[exporter]
            ours = next((r for r in results if r.runtime == OURS and r.runs), None)
            error = "" if ours is None else f"{ours.relative_error:.0e}"
            factor = ratio(results)
            table.add_row(
                name,
                exporter,
                "failed" if ours is None else f"{ours.median_us / 1e3:.3f}",
                f"{hand.median_us / 1e3:.3f}" if hand.runs else "failed",
                "" if factor is None else f"{factor:.2f}",
                error,
            )
    return table


def report(measured: Measured, settings: Settings) -> dict[str, Any]:
    """Everything that was measured, as data for a JSON file."""
    return {
        "machine": machine(),
        "settings": asdict(settings),
        "networks": {
            name: {file: [asdict(r) for r in results] for file, results in files.items()}
            for name, files in measured.items()
        },
    }


def main(
    folder: Annotated[Path, typer.Argument(help="what bench.torch_models --full wrote")],
    names: Annotated[list[str] | None, typer.Argument(help="networks; all if left out")] = None,
    threads: Annotated[int, typer.Option(help="threads of every runtime")] = 2,
    seconds: Annotated[float, typer.Option(help="measured time for each runtime and file")] = 3,
    slice_s: Annotated[float, typer.Option("--slice", help="seconds of one turn")] = 0.3,
    runtimes: Annotated[
        str, typer.Option(help="which, with commas; the first rival is the reference")
    ] = "planck,onnxruntime,openvino",
    symbolic: Annotated[bool, typer.Option(help="the files with an open batch")] = False,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="write all figures here, beside those it has")
    ] = None,
) -> None:
    """Time PyTorch's exports in Planck and other runtimes, beside the files of bench.models."""
    console = Console(width=120)
    settings = Settings(threads, "fp32", seconds, slice_s, 900, {})
    measured: Measured = {}
    for name in names or models.NAMES:
        if name not in models.NAMES:
            raise typer.BadParameter(f"no network {name!r}; there are {', '.join(models.NAMES)}")
        suffix = "-symbolic" if symbolic else ""
        measured[name] = measure(name, folder, suffix, runtimes.split(","), settings)
        for file, results in measured[name].items():
            for result in results:
                if result.failed:
                    text = f"{name} ({file}): {result.runtime} failed: {result.failed}"
                    console.print(text, markup=False)
    if json_out is not None:
        found = report(measured, settings)
        if json_out.exists():
            found["networks"] = json.loads(json_out.read_text())["networks"] | found["networks"]
        json_out.write_text(json.dumps(found, indent=1) + "\n")
    console.print(table_of(measured, settings))


if __name__ == "__main__":
    typer.run(main)
