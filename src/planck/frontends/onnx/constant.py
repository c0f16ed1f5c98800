"""Constant nodes, in all the forms that the ONNX specification gives them."""

from __future__ import annotations

from typing import Final

import numpy as np

from planck.errors import ModelFormatError
from planck.frontends.onnx.context import Item, NodeContext, Table
from planck.frontends.onnx.tensors import dense_of


def _constant(ctx: NodeContext) -> Item:
    if ctx.has("value"):
        return ctx.const(ctx.attribute("value"))
    if ctx.has("sparse_value"):
        return ctx.const(dense_of(ctx.attribute("sparse_value"), ctx.folder))
    for name, dtype in (
        ("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
        ("value_ints", np.int64), ("value_string", object), ("value_strings", object),
    ):  # fmt: skip
        if ctx.has(name):
            return ctx.const(np.array(ctx.attribute(name), dtype))
    raise ModelFormatError("Constant has no value")


TABLE: Final[Table] = {("", "Constant"): _constant}
