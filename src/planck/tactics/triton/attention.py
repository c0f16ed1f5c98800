"""Attention as one kernel.

Notebook (one H200, Triton 3.6, us in a graph of 24 launches, float16, 12 heads of 64):

- 128 keys under a mask: 2.6 at batch 1 in blocks of 16 queries by 128 keys, 4.4 at batch 8 and 19.7
  at batch 64, both of 64 by 128. Before, batch 64 took 22.6 of 128 by 128, 23.8 of 64 by 128, 49.6
  of 64 by 64 (now 20.3). Of 64 by 128: a mask of one row was read for each query (2.3), values only
  after the softmax (1.4), results divided by their sum, not multiplied by its reciprocal (0.3).
- 197 keys, batch 8: 8.4 in blocks of 64 by 128; all 256 at once 8.8, 64 by 32 11.3.
- 50 MB at 4.8 TB/s would be 10.5 us. Four blocks fit a multiprocessor, by their 116 registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from planck.codegen.triton.attention import Attention as Spec
from planck.codegen.triton.attention import write
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.matmul import Matrix
from planck.codegen.triton.text import power_of_two
from planck.dtypes import SHORT_FLOATS, Array, f32
from planck.ir.graph import Node, Value
from planck.ops.nn import Attention
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import first_node, symbol, without_casts
from planck.tactics.triton.operands import REACH, dependent, precisions
from planck.tactics.triton.tiles import cores_of, shared_of

DEEPEST: Final = 256  # of a head
MAX_OFFERS: Final = 8
# queries, keys, warps, stages
TILES: Final = ((64, 64, 4, 2), (128, 64, 8, 2), (32, 64, 4, 2), (16, 64, 2, 2), (64, 128, 4, 2),
                (128, 128, 8, 2), (16, 128, 4, 2), (64, 32, 4, 3))  # fmt: skip


class FlashAttention:
    """softmax(q k^T) v, a block of keys at a time."""

    name = "triton_attention"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        plain = without_casts(kernel.graph)
        if isinstance(plain, No):
            return plain
        nodes = plain.nodes
        if len(nodes) != 1 or not isinstance(nodes[0].op, Attention):
            return No("the kernel is not one Attention")
        values = (*kernel.graph.inputs, *kernel.graph.outputs)
        if kernel.graph.weights:
            return No("q, k, v or mask is a single number")
        if any(v.type.block for v in values):
            return No("reads and writes rows, not blocks of channels")
        if any(v.type.dtype is not f32 and v.type.dtype not in SHORT_FLOATS for v in values):
            return No("computes with floats only")
        q, k, v = nodes[0].inputs[:3]
        if not q.type.dtype is k.type.dtype is v.type.dtype:
            return No("q, k and v are of several dtypes")
        if max(q.type.dims[-1], v.type.dims[-1]) > DEEPEST:
            return No(f"heads are deeper than {DEEPEST}")
        for value in values:
            strides = kernel.operands[value.name].strides
            last = sum((n - 1) * s for n, s in zip(value.type.dims, strides, strict=True))
            if last + 1 >= REACH:
                return No(f"%{value.name} reaches over 2^31 elements")
        return _ranked(kernel, nodes[0])

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        return write(_spec(kernel, config))

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return dict(constants)


def _ranked(kernel: Kernel, node: Node) -> tuple[Config, ...] | No:
    """Enough blocks for all multiprocessors, then the largest."""
    q, k, v = node.inputs[:3]
    *lead, queries, _ = node.outputs[0].type.dims
    heads, keys = math.prod(lead), k.type.dims[-2]
    deep = max(16, power_of_two(max(q.type.dims[-1], v.type.dims[-1])))
    cores = cores_of(kernel.target)
    size = q.type.dtype.bytes
    found: dict[tuple[int, ...], float] = {}
    for bm, bn, warps, stages in TILES:
        bm = min(bm, max(16, power_of_two(queries)))
        bn = min(bn, max(16, power_of_two(keys)))
        shared = bm * deep * size + (stages * 2 * bn * deep + bm * bn) * size
        if shared > shared_of(kernel.target) or bm * deep > 128 * 128:
            continue
        if size == 4 and bm * max(bn, deep) > 64 * 64:
            continue
        blocks = heads * -(-queries // bm)
        waves = -(-blocks // cores)
        steps = -(-keys // bn)
        time = waves * (1 + steps * (0.3 + bm * bn * deep / (64 * 64 * 64)))
        if (bm, bn) not in {tile[:2] for tile in found}:
            found[bm, bn, warps, stages] = time
    if not found:
        return No("no block of queries and keys fits into shared memory")
    best = sorted(found, key=lambda tile: found[tile])
    ways = precisions(kernel, q.type.dtype, short=False)
    made = [
        {"bm": bm, "bn": bn, "warps": warps, "stages": stages, "trigger": 2, "precision": way}
        for bm, bn, warps, stages in best
        for way in ways
    ]
    return (made[0], {**made[0], "trigger": 3}, *made[1 : MAX_OFFERS - 1])


def _spec(kernel: Kernel, config: Config) -> Spec:
    node = first_node(kernel)
    op = node.op
    assert isinstance(op, Attention)
    (out,) = kernel.graph.outputs
    lead = out.type.dims[:-2]

    def matrix(value: Value) -> tuple[str, Matrix]:
        operand, own = kernel.operands[value.name], value.type.dims
        far = [0] * (len(lead) + 2 - len(own))
        far += [s if n > 1 else 0 for n, s in zip(own, operand.strides, strict=True)]
        return value.name, Matrix(
            tuple(far[:-2]), far[-2], far[-1], value.type.dtype, operand.aligned
        )

    q, k, v, *mask = node.inputs
    return Spec(
        symbol=symbol("attention", kernel, config),
        lead=lead,
        queries=q.type.dims[-2],
        keys=k.type.dims[-2],
        depth=q.type.dims[-1],
        width=v.type.dims[-1],
        scale=op.scale,
        causal=op.causal,
        q=matrix(q),
        k=matrix(k),
        v=matrix(v),
        out=matrix(out),
        mask=matrix(mask[0]) if mask else None,
        bm=config["bm"],
        bn=config["bn"],
        warps=config["warps"],
        stages=config["stages"],
        trigger=config["trigger"],
        precision=config["precision"],
        dependent=dependent(kernel),
    )
