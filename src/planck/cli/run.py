"""`planck run`: one inference, from files to files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from planck.cli.app import console, show_json, table
from planck.cli.inputs import load_inputs
from planck.cli.options import AsJson, Building, InputFiles, Model, engine_of, takes_building
from planck.dtypes import Array
from planck.errors import FileError
from planck.files import check_writable, replacing


@takes_building
def run(
    model: Model,
    inputs: InputFiles = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the outputs to this .npz.")
    ] = None,
    as_json: AsJson = False,
    *,
    building: Building,
) -> None:
    """Run a plan (or build a model and run it) once.

    \b
    Examples:
      planck run yolov5s.plan -i images=picture.npy -o outputs.npz
      planck run net.onnx
      planck run net.plan --threads 2 --cpus 0,2
    """
    if output:
        check_writable(output)
    engine = engine_of(model, building, progress=not as_json)
    context = engine.create_execution_context(building.threads, building.cpu_list)
    with context:
        outputs = context(load_inputs(engine, inputs or []))
    if output:
        _write_npz(output, outputs)
    rows = [
        {
            "name": name,
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            **_statistics(array),
        }
        for name, array in outputs.items()
    ]
    if as_json:
        show_json(rows)
        return
    shown = table("output", "shape", "dtype", "min", "mean", "max")
    for row in rows:
        numbers = (f"{row[key]:.6g}" if row.get(key) is not None else "" for key in _NUMBERS)
        shown.add_row(str(row["name"]), str(row["shape"]), str(row["dtype"]), *numbers)
    console.print(shown)


def _write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """As np.savez, but whole or not at all, and with arrays of any name: "file" is one.

    raises: FileError; what was at `path` is then untouched
    """
    try:
        with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise FileError(f"cannot write {path}", know=str(error)) from error


_NUMBERS = ("min", "mean", "max")


def _statistics(array: Array) -> dict[str, float | None]:
    if not array.size or array.dtype.kind not in "fiu":
        return dict.fromkeys(_NUMBERS)
    with np.errstate(invalid="ignore", over="ignore"):  # the mean of infinities is NaN
        return {key: float(getattr(array, key)()) for key in _NUMBERS}
