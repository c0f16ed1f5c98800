"""The tactic "loops": any kernel whose operators say their bodies, fused into loop nests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from planck.codegen.memory import supported
from planck.codegen.nest import generate
from planck.dtypes import Array, DType
from planck.ir.graph import Graph, Value
from planck.loops.build import compose
from planck.loops.keep import keep
from planck.loops.lower import Buffer, Nest, frugal, lower
from planck.loops.share import share
from planck.ops.movement import Cumulative
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel, Operand


class Loops:
    """One nest for all outputs of one layout; nothing is packed, nothing is tuned yet."""

    name = "loops"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        fits = fusible(kernel.graph, supported)
        if isinstance(fits, No):
            return fits
        if any(isinstance(n.op, Cumulative) and n.outputs[0].type.size for n in kernel.graph.nodes):
            return No("would sum each element of a running sum anew")
        if len(kernel.graph.nodes) > 1:
            for nest in nests_of(kernel, kernel.target.lanes):
                answer = frugal(nest)
                if isinstance(answer, No):
                    return answer
        return ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        arguments = tuple(v.name for v in (*kernel.graph.inputs, *kernel.graph.outputs))
        symbol = f"loops_{kernel.key}"
        text, tiles, scratch = generate(
            symbol,
            [share(keep(nest)) for nest in nests_of(kernel, kernel.target.lanes)],
            arguments,
            _tables(kernel),
            kernel.target,
            kernel.threads,
        )
        return Code(symbol, text, arguments, tiles, scratch, level=2)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return constants


def fusible(graph: Graph, supported: Callable[[DType], bool]) -> bool | No:
    """True if all operators of a graph have bodies and all dtypes are supported; else why not."""
    for node in graph.nodes:
        if not node.op.has_body:
            return No(f"{type(node.op).__name__} has no body")
    for value in graph.values():
        if not supported(value.type.dtype):
            return No(f"%{value.name} is {value.type.dtype}")
    return True


def nests_of(kernel: Kernel, lanes: int) -> list[Nest]:
    """The loop nests of a kernel, one for all outputs of one layout."""
    graph = kernel.graph
    exprs = dict(zip((v.name for v in graph.outputs), compose(graph), strict=True))
    return lower(exprs, buffers_of(kernel), lanes)


def buffers_of(kernel: Kernel) -> dict[str, Buffer]:
    """How a kernel's inputs, outputs and tables lie in memory."""
    graph = kernel.graph
    found = {v.name: _buffer(v, kernel.operands[v.name]) for v in (*graph.inputs, *graph.outputs)}
    for node in graph.nodes:
        for v in node.inputs:
            if v.name in graph.weights:
                found[v.name] = _buffer(v, Operand.dense(v.type))
    return found


def _buffer(value: Value, operand: Operand) -> Buffer:
    type_ = operand.type
    return Buffer(type_.dims, type_.dtype, type_.block, operand.strides)


def _tables(kernel: Kernel) -> dict[str, Array]:
    return {name: array for name, array in kernel.graph.weights.items() if array.size > 1}
