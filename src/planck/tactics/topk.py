"""The largest k of lines.

Notebook (AMD EPYC with AVX2, one thread, whole calls; ONNX Runtime, NumPy's stable sort)

- 300 of 8400: 57 us (136, 991); 1000 of 12544: 130 (178, 1450); 300 of 672000: 474 (2164, 142550);
  the largest of 64 lines of 1000: 75 (115, 4758), the largest five 115 (232, 4687); 8 lines of 4096
  in order: 703 (3472, 3882); 900 of 40000 whose neighbours lie four apart: 796 (2501, 20600).
- Sorting runs of four by a network of scalars and merging from one end took 77, 209, 470, 155, 240,
  1390 and 1215 us. Now runs of eight are sorted in the lanes of vectors, and runs of one size are
  merged from both ends at once, which takes no look at their ends.
"""

from __future__ import annotations

from planck.codegen import topk
from planck.ir.graph import Node
from planck.ops.movement import TopK
from planck.ops.shapes import axis_of
from planck.refusal import No
from planck.tactics.alone import Alone, line_strides
from planck.tactics.kernel import Code, Kernel
from planck.target import Target


class Largest(Alone[topk.TopK]):
    """TopK."""

    name = "topk"
    ops = (TopK,)

    def code(self, target: Target, name: str, spec: topk.TopK) -> Code:
        text, scratch = topk.write(target, name, spec)
        return Code(name, text, spec.arguments, spec.units, scratch_bytes=scratch, level=3)

    def read(self, kernel: Kernel, node: Node) -> topk.TopK | No:
        op, (x,), (values, positions) = node.op, node.inputs, node.outputs
        assert isinstance(op, TopK)
        if x.type.dtype not in topk.DTYPES:
            return No(f"compares numbers of 8 bits or more, not {x.type.dtype}")
        if any(v.type.block for v in (x, *node.outputs)):
            return No("reads and writes rows, not blocks")
        axis = axis_of("TopK", op.axis, x.type.rank)
        count, lines = x.type.dims[axis], (*x.type.dims[:axis], *x.type.dims[axis + 1 :])
        if not op.k or not all(lines):
            return No("there is nothing to find")
        if count >= 2**topk.POSITION_BITS:
            return No(f"counts in {topk.POSITION_BITS} bits")
        return topk.TopK(
            arguments=(x.name, values.name, positions.name),
            dtype=x.type.dtype,
            count=count,
            k=op.k,
            largest=op.largest,
            lines=lines,
            strides=(
                line_strides(kernel, x, axis),
                line_strides(kernel, values, axis),
                line_strides(kernel, positions, axis),
            ),
        )
