"""Open dimensions of an ONNX file, bound before any runtime sees it: one graph for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, ValueInfoProto

INLINE_BYTES = 1 << 30  # protobuf ends at 2 GB; larger weights go into a file beside the model

Shapes = dict[str, tuple[int, ...]]


def parse_shapes(texts: Sequence[str]) -> Shapes:
    """["images:1x3x640x640"] -> {"images": (1, 3, 640, 640)}. raises: ValueError"""
    shapes = {}
    for text in texts:
        name, _, dims = text.rpartition(":")
        if not name or not re.fullmatch(r"\d+([x,]\d+)*", dims):
            raise ValueError(f"--shape {text} is not NAME:DIMS, such as images:1x3x640x640")
        shapes[name] = tuple(int(n) for n in re.split("[x,]", dims))
    return shapes


def bound(file: Path, shapes: Shapes, folder: Path) -> Path:
    """The file itself if its inputs have no open dimension, else a copy in folder that has none.

    shapes: of inputs by name; an open first axis that they leave out is 1
    raises: ValueError for an input that is not there, for a shape that is not the input's, and for
            an open dimension that nothing binds, with what to give
    """
    model = onnx.load(file, load_external_data=False)
    constants = {weight.name for weight in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in constants}
    for name in shapes:
        if name not in inputs:
            raise ValueError(f"{file.name} has no input {name!r}; there are {', '.join(inputs)}")
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        _learn(inputs[name], shape, sizes)
    if not any(_open(value) for value in inputs.values()):
        return file
    model = onnx.load(file)
    for value in model.graph.input:
        if value.name in inputs:
            _bind_input(value, shapes.get(value.name), sizes)
    _bind_rest(model, sizes)
    copy = folder / file.name
    large = model.ByteSize() > INLINE_BYTES
    onnx.save(model, copy, save_as_external_data=large, location=f"{file.name}.data")
    return copy


def _open(value: ValueInfoProto) -> bool:
    return any(not dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)


def _learn(value: ValueInfoProto, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Note the sizes that a given shape binds symbols to."""
    dims = value.type.tensor_type.shape.dim
    fits = len(dims) == len(shape)
    for dim, size in zip(dims, shape, strict=False):
        known = dim.dim_value if dim.HasField("dim_value") else sizes.get(dim.dim_param, size)
        fits &= known == size
        if dim.dim_param:
            sizes[dim.dim_param] = size
    if not fits:
        declared = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise ValueError(f"input {value.name!r} is {declared}, --shape gives {list(shape)}")


def _bind_input(
    value: ValueInfoProto, shape: tuple[int, ...] | None, sizes: dict[str, int]
) -> None:
    dims = value.type.tensor_type.shape.dim
    for axis, dim in enumerate(dims):
        if dim.HasField("dim_value"):
            continue
        name = dim.dim_param
        if shape is not None:
            size = shape[axis]
        elif name in sizes:
            size = sizes[name]
        elif axis == 0:
            size = 1
        else:
            example = "x".join(str(d.dim_value or sizes.get(d.dim_param, 1)) for d in dims)
            raise ValueError(
                f"dimension {axis} ({name or 'unnamed'}) of input {value.name!r} is open;"
                f" give its shape, such as --shape {value.name}:{example}"
            )
        if name:
            sizes[name] = size
        dim.dim_value = size


def _bind_rest(model: ModelProto, sizes: Mapping[str, int]) -> None:
    """Outputs and inner values: the symbols that inputs share with them."""
    for value in (*model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
