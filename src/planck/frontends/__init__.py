"""Readers of model files: each is one module or folder with SUFFIXES and read(...) -> Graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from planck.errors import FileError, InputError, ModelError
from planck.ir.graph import Graph

if TYPE_CHECKING:
    import onnx

SUFFIXES = (".onnx", ".cfg", ".graph")


def read(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    weights: Path | None = None,
    batch: int | None = None,
) -> Graph:
    """The graph of a model file, of ONNX bytes or of a ModelProto.

    shapes:   by input name, for inputs that the file leaves open
    weights:  the weights file of a Darknet .cfg
    batch:    the first dimension of inputs, where the file leaves it open
    raises:   ModelError, ShapeError, FileError; InputError for a suffix that nothing reads
    """
    try:
        return _read(source, shapes, weights, batch)
    except MemoryError as error:
        raise ModelError("there is not enough memory to read this model") from error


def _read(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]] | None,
    weights: Path | None,
    batch: int | None,
) -> Graph:
    if not isinstance(source, str | os.PathLike):
        from planck.frontends import onnx as onnx_frontend

        return onnx_frontend.read(source, shapes=shapes, batch=batch)
    path = Path(source)
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"planck does not know what {path.name} is",
            know=f"it reads {', '.join(SUFFIXES)}",
            try_="rename the file if its suffix is wrong",
        )
    if not path.is_file():
        raise FileError(f"there is no file {path}", try_="check the path")
    if path.suffix == ".cfg":
        from planck.frontends import darknet

        return darknet.read(path, weights=weights, shapes=shapes, batch=batch)
    if path.suffix == ".graph":
        from planck.ir.parse import load

        return load(path)
    from planck.frontends import onnx as onnx_frontend

    return onnx_frontend.read(path, shapes=shapes, batch=batch)
