"""The inputs of an ONNX graph: dtypes, and shapes with every dimension bound."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from onnx import GraphProto, ValueInfoProto

from planck.dtypes import Array
from planck.errors import NotConstant, ShapeError
from planck.frontends.onnx.builder import Absent, Item, Scope, ValueList
from planck.frontends.onnx.tensors import dtype_of
from planck.ir.graph import Value
from planck.ir.types import TensorType

LOG = logging.getLogger(__name__)

Constant: TypeAlias = Array | list[Array] | None


def declare_inputs(
    graph: GraphProto,
    file: str,
    scope: Scope,
    shapes: Mapping[str, Sequence[int]],
    constants: Mapping[str, Constant],
    batch: int | None = None,
) -> dict[str, str]:
    """Make the inputs values of the scope; gives their file names by value name.

    shapes, constants, batch: as given to `read`
    raises: ShapeError, NotConstant (inputs that are no tensors), DTypeError
    """
    declared = {info.name: info for info in graph.input if info.name not in scope.items}
    for given in (*shapes, *constants):
        if given not in declared:
            raise ShapeError(
                f"{file} has no input {given!r}", know=f"its inputs: {', '.join(declared)}"
            )
    bound = _bound(declared, shapes)
    names: dict[str, str] = {}
    for name, info in declared.items():
        if name in constants:
            scope.items[name] = _constant(scope, name, constants[name])
            continue
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            raise NotConstant(f"input {name!r} of {file} is not a tensor but a {kind}")
        dtype = dtype_of(info.type.tensor_type.elem_type)
        shape = _shape(info, file, shapes.get(name), bound, batch or 1)
        value = Value(scope.builder.namer(name), TensorType(shape, dtype))
        scope.items[name] = value
        scope.builder.inputs.append(value)
        names[value.name] = name
    return names


def _constant(scope: Scope, name: str, given: Constant) -> Item:
    """A constant array; of a list, a sequence; of None, an optional without an element."""
    if given is None:
        return Absent()
    if isinstance(given, list):
        return ValueList(tuple(scope.builder.const(array, name) for array in given))
    return scope.builder.const(np.asarray(given), name)


def _bound(
    declared: Mapping[str, ValueInfoProto], shapes: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """The symbolic dims that given shapes bind, by their names."""
    bound: dict[str, int] = {}
    for name, given in shapes.items():
        dims = declared[name].type.tensor_type.shape.dim
        if declared[name].type.tensor_type.HasField("shape") and len(dims) != len(given):
            raise ShapeError(f"input {name!r} has {len(dims)} dimensions, shapes= gives {given}")
        for dim, extent in zip(dims, given, strict=False):
            fixed = dim.dim_value if dim.HasField("dim_value") else bound.get(dim.dim_param)
            if extent < 0 or (fixed is not None and fixed >= 0 and fixed != extent):
                raise ShapeError(f"input {name!r} is {fixed} where shapes= gives {given}")
            if dim.dim_param:
                bound[dim.dim_param] = int(extent)
    return bound


def _shape(
    info: ValueInfoProto,
    file: str,
    given: Sequence[int] | None,
    bound: dict[str, int],
    batch: int,
) -> tuple[int, ...]:
    if given is not None:
        return tuple(int(extent) for extent in given)
    proto = info.type.tensor_type
    hint = f"give all its dimensions: shapes={{{info.name!r}: (...)}}"
    if not proto.HasField("shape"):
        raise ShapeError(f"input {info.name!r} of {file} has no shape", try_=hint)
    shape = []
    for axis, dim in enumerate(proto.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            shape.append(dim.dim_value)
        elif dim.dim_param in bound:
            shape.append(bound[dim.dim_param])
        elif axis == 0:
            LOG.info("%s: the batch of input %s is open; %d is taken", file, info.name, batch)
            shape.append(batch)
            if dim.dim_param:
                bound[dim.dim_param] = batch
        else:
            what = dim.dim_param or "unnamed"
            raise ShapeError(
                f"dimension {axis} ({what}) of input {info.name!r} is open", at=file, try_=hint
            )
    return tuple(shape)
