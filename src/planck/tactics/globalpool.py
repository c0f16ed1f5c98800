"""Sums, means and maxima of whole images on blocked layouts: global average pooling and its kin.

Notebook (Zen 5, two threads): of RegNetY-400MF's time, squeeze and excite takes 0.5 % for these
means, 0.8 % to scale images by what comes of them, 2.4 % for the products of one pixel between
them, which are bound by their weights. Scaling as a convolution reads would win 0.8 % at most.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planck.codegen.globalpool import GlobalPool, write
from planck.codegen.tables import Memory
from planck.dtypes import Array
from planck.ops.reduce import Reduce
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import (
    Anchored,
    anchored,
    blocked_memory,
    constant,
    padded,
    symbol,
    two_dimensional,
)


class GlobalPooling:
    """Each channel's image to one number."""

    name = "globalpool"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        spec = self._spec(kernel)
        return spec if isinstance(spec, No) else ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self._spec(kernel)
        assert isinstance(spec, GlobalPool), spec
        name = symbol("globalpool", kernel, config)
        return Code(name, write(kernel.target, name, spec), spec.arguments, spec.units)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        spec = self._spec(kernel)
        assert isinstance(spec, GlobalPool), spec
        packed: dict[str, Array] = {}
        for name in spec.arguments:
            if name not in kernel.constants and name not in kernel.graph.weights:
                continue
            array = constant(kernel, constants, name)
            if spec.epilogue.operands[name] == "channel":
                array = padded(array, spec.blocks * kernel.target.lanes)
            packed[name] = np.ascontiguousarray(array)
        return packed

    def _spec(self, kernel: Kernel) -> GlobalPool | No:
        form = anchored(kernel, Reduce, 1, bfloat16=True)
        if isinstance(form, No):
            return form
        x, op = form.node.inputs[0], form.node.op
        assert isinstance(op, Reduce)
        rank = x.type.rank
        if op.kind not in ("sum", "mean", "max"):
            return No(f"reduces by sum, mean and max, not by {op.kind}")
        if rank not in (3, 4) or tuple(sorted(a % rank for a in op.axes)) != tuple(range(2, rank)):
            return No("reduces all spatial axes of one or two, and no other")
        if kernel.operands[x.name].type.block != kernel.target.lanes:
            return No(f"%{x.name} does not lie in blocks of {kernel.target.lanes}")
        return _lower(form, op.kind)


def _lower(form: Anchored, kind: str) -> GlobalPool | No:
    kernel, x = form.kernel, form.node.inputs[0]
    lanes = kernel.target.lanes
    n, c, *image = x.type.dims
    memory = {x.name: blocked_memory(kernel, x.name)}
    blocks = {kernel.operands[name].type.block for name in form.epilogue.outputs}
    for name in (*form.epilogue.of_kind("full"), *form.epilogue.outputs):
        operand = kernel.operands[name]
        batch, along = operand.strides[:2]
        size = operand.type.dtype.bytes
        if operand.type.block == lanes:
            memory[name] = Memory(size * batch, size * along, 0, 0)
        elif not operand.type.block and along == 1:
            memory[name] = Memory(size * batch, size * lanes, 0, 0)
        else:
            return No(f"the channels of %{name} do not lie next to each other")
    if len(blocks) > 1 or x.name in form.epilogue.operands:
        return No("outputs in more than one layout")
    masked = c % lanes if blocks == {0} else 0
    constants = [name for name in form.channel_operands() if not form.is_constant(name)]
    if constants and c % lanes and not masked:
        return No(f"%{constants[0]} is known at run time only and has no room for padding lanes")
    arguments = (x.name, *form.epilogue.operands, *form.epilogue.outputs)
    return GlobalPool(
        kind=kind,
        batch=n,
        blocks=-(-c // lanes),
        image=two_dimensional(tuple(image), 1),
        masked=masked,
        arguments=arguments,
        memory=memory,
        epilogue=form.epilogue,
    )
