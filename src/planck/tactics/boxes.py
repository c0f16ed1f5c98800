"""Non-maximum suppression, an image and class at a time.

Notebook (Zen 5, one thread; NumPy's time is that of the reference)

- 80 classes of 8400 boxes, of which 296 stay: 0.25 ms (NumPy 8.0); of 25200, 2245 of them: 0.80 ms
  (42); 8000 that all beat the lowest score: 35 ms (3300). Eight images of 8400: 2.3 ms (52).
"""

from __future__ import annotations

from collections.abc import Mapping

from planck.codegen import boxes
from planck.dtypes import Array, f32
from planck.ops.nn import NonMaxSuppression
from planck.plan.model import COUNTERS, WORKSPACE
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel, Operand
from planck.tactics.pattern import symbol


class Suppression:
    """The operator alone, on float32 in rows; views are read as they lie."""

    name = "suppression"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        spec = self._spec(kernel)
        return spec if isinstance(spec, No) else ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self._spec(kernel)
        assert isinstance(spec, boxes.NonMaxSuppression), spec
        name = symbol("suppression", kernel, config)
        return Code(
            name,
            boxes.write(kernel.target, name, spec),
            (*spec.arguments, WORKSPACE, COUNTERS),
            spec.units,
            scratch_bytes=spec.scratch_bytes,
            level=3,
            workspace_bytes=spec.workspace_bytes,
            counter_bytes=boxes.COUNTER_BYTES,
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return dict(constants)

    def _spec(self, kernel: Kernel) -> boxes.NonMaxSuppression | No:
        node = kernel.graph.nodes[0]
        op = node.op
        if len(kernel.graph.nodes) != 1 or not isinstance(op, NonMaxSuppression):
            return No("is no non-maximum suppression")
        given, scores = node.inputs
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
        strides = kernel.operands[given.name].strides, kernel.operands[scores.name].strides
        how = op.overlap, op.lowest, op.centred
        return boxes.NonMaxSuppression(names, strides, images, classes, number, most, *how)
