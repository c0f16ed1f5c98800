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

from collections.abc import Mapping

from planck.codegen import topk
from planck.dtypes import Array
from planck.ops.movement import TopK
from planck.ops.shapes import axis_of
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import symbol


class Largest:
    """The operator alone; views are read and written as they lie."""

    name = "topk"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        spec = self._spec(kernel)
        return spec if isinstance(spec, No) else ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self._spec(kernel)
        assert isinstance(spec, topk.TopK), spec
        name = symbol("topk", kernel, config)
        text, scratch = topk.write(kernel.target, name, spec)
        return Code(name, text, spec.arguments, spec.units, scratch_bytes=scratch, level=3)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return dict(constants)

    def _spec(self, kernel: Kernel) -> topk.TopK | No:
        node = kernel.graph.nodes[0]
        op = node.op
        if len(kernel.graph.nodes) != 1 or not isinstance(op, TopK):
            return No("does not look for the largest elements")
        if kernel.graph.weights:
            return No("x is a single number")
        (x,) = node.inputs
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

        def strides(name: str) -> tuple[int, ...]:
            own = kernel.operands[name].strides
            return (*own[:axis], *own[axis + 1 :], own[axis])

        names = (x.name, node.outputs[0].name, node.outputs[1].name)
        found = strides(names[0]), strides(names[1]), strides(names[2])
        return topk.TopK(names, x.type.dtype, count, op.k, op.largest, lines, found)
