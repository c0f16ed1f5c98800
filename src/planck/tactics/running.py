"""Running sums and products, an element after the other.

Notebook (AMD EPYC with AVX2, one thread, whole calls; ONNX Runtime, each element summed anew)

- A line of 16000: 41 us (91, 29238), with an error of 8e-6 (2e-4): sums are kept in float64, which
  takes longer where lines lie side by side: 8 x 512 x 64 along the second axis 134 us (78, 11000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from planck.codegen import running
from planck.codegen.memory import supported
from planck.dtypes import Array
from planck.ops.movement import Cumulative
from planck.ops.shapes import axis_of
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import symbol

SIDE_BY_SIDE: Final = 4  # vectors, whose sums do not wait for each other


class Accumulating:
    """The operator alone; views are read and written as they lie."""

    name = "running"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        spec = self._spec(kernel)
        return spec if isinstance(spec, No) else ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self._spec(kernel)
        assert isinstance(spec, running.Running), spec
        name = symbol("running", kernel, config)
        text = running.write(kernel.target, name, spec)
        return Code(name, text, spec.arguments, spec.units, level=3)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return {**constants, **kernel.graph.weights}

    def _spec(self, kernel: Kernel) -> running.Running | No:
        node = kernel.graph.nodes[0]
        op = node.op
        if len(kernel.graph.nodes) != 1 or not isinstance(op, Cumulative):
            return No("is no running sum")
        (x,), (out,) = node.inputs, node.outputs
        if not supported(x.type.dtype):
            return No(f"has no code for {x.type.dtype}")
        if x.type.block or out.type.block:
            return No("reads and writes rows, not blocks")
        if kernel.graph.weights or not x.type.size:
            return No("there is nothing to sum")
        axis = axis_of("Cumulative", op.axis, x.type.rank)
        lines = (*x.type.dims[:axis], *x.type.dims[axis + 1 :])

        def strides(name: str) -> tuple[int, ...]:
            own = kernel.operands[name].strides
            return (*own[:axis], *own[axis + 1 :], own[axis])

        of_x, of_out = strides(x.name), strides(out.name)
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
