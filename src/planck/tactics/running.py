"""Running sums and products, an element after the other.

Notebook (AMD EPYC with AVX2, one thread, whole calls; ONNX Runtime, each element summed anew)

- A line of 16000: 41 us (91, 29238), with an error of 8e-6 (2e-4): sums are kept in float64, which
  takes longer where lines lie side by side: 8 x 512 x 64 along the second axis 134 us (78, 11000).
"""

from __future__ import annotations

from typing import Final

from planck.codegen import running
from planck.codegen.memory import supported
from planck.ir.graph import Node
from planck.ops.movement import Cumulative
from planck.ops.shapes import axis_of
from planck.refusal import No
from planck.tactics.alone import Alone, line_strides
from planck.tactics.kernel import Code, Kernel
from planck.target import Target

SIDE_BY_SIDE: Final = 4  # vectors, whose sums do not wait for each other


class Accumulating(Alone[running.Running]):
    """CumSum and CumProd."""

    name = "running"
    ops = (Cumulative,)

    def code(self, target: Target, name: str, spec: running.Running) -> Code:
        text = running.write(target, name, spec)
        return Code(name, text, spec.arguments, spec.units, level=3)

    def read(self, kernel: Kernel, node: Node) -> running.Running | No:
        op, (x,), (out,) = node.op, node.inputs, node.outputs
        assert isinstance(op, Cumulative)
        if not supported(x.type.dtype):
            return No(f"has no code for {x.type.dtype}")
        if x.type.block or out.type.block:
            return No("reads and writes rows, not blocks")
        if not x.type.size:
            return No("there is nothing to sum")
        axis = axis_of("Cumulative", op.axis, x.type.rank)
        lines = (*x.type.dims[:axis], *x.type.dims[axis + 1 :])
        of_x, of_out = (line_strides(kernel, value, axis) for value in (x, out))
        beside = axis < x.type.rank - 1 and of_x[-2] == of_out[-2] == 1
        return running.Running(
            arguments=(x.name, out.name),
            dtype=x.type.dtype,
            kind=op.kind,
            exclusive=op.exclusive,
            reverse=op.reverse,
            count=x.type.dims[axis],
            lines=lines,
            strides=(of_x, of_out),
            width=min(SIDE_BY_SIDE * kernel.target.lanes, lines[-1]) if beside else 1,
        )
