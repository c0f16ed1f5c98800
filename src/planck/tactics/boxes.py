"""Non-maximum suppression, an image and class at a time.

Notebook (Zen 5, one thread; NumPy's time is that of the reference)

- 80 classes of 8400 boxes, of which 296 stay: 0.25 ms (NumPy 8.0); of 25200, 2245 of them: 0.80 ms
  (42); 8000 that all beat the lowest score: 35 ms (3300). Eight images of 8400: 2.3 ms (52).
"""

from __future__ import annotations

from planck.codegen import boxes
from planck.dtypes import f32
from planck.ir.graph import Node
from planck.ops.nn import NonMaxSuppression
from planck.plan.model import COUNTERS, WORKSPACE
from planck.refusal import No
from planck.tactics.alone import Alone, strides_of
from planck.tactics.kernel import Code, Kernel, Operand
from planck.target import Target


class Suppression(Alone[boxes.NonMaxSuppression]):
    """NonMaxSuppression of float32 in rows; gives dense rows."""

    name = "suppression"
    ops = (NonMaxSuppression,)

    def code(self, target: Target, name: str, spec: boxes.NonMaxSuppression) -> Code:
        return Code(
            name,
            boxes.write(target, name, spec),
            (*spec.arguments, WORKSPACE, COUNTERS),
            spec.units,
            scratch_bytes=spec.scratch_bytes,
            level=3,
            workspace_bytes=spec.workspace_bytes,
            counter_bytes=boxes.COUNTER_BYTES,
        )

    def read(self, kernel: Kernel, node: Node) -> boxes.NonMaxSuppression | No:
        op, (given, scores) = node.op, node.inputs
        assert isinstance(op, NonMaxSuppression)
        if not given.type.dtype is scores.type.dtype is f32:
            return No(f"chooses among boxes and scores in f32, not {given.type}, {scores.type}")
        for value in node.outputs:
            if kernel.operands[value.name] != Operand.dense(value.type):
                return No(f"%{value.name} has gaps")
        if given.type.block or scores.type.block:
            return No("reads rows, not blocks")
        images, classes, number = scores.type.dims
        most = min(op.most, number)
        if not images * classes * most:
            return No("there are no boxes")
        rows, count = node.outputs
        names = (given.name, scores.name, rows.name, count.name)
        strides = strides_of(kernel, given), strides_of(kernel, scores)
        how = op.overlap, op.lowest, op.centred
        return boxes.NonMaxSuppression(names, strides, images, classes, number, most, *how)
