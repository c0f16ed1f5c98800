"""Attention as one kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping

from planck.codegen.attention import AttentionSpec, Rows, write
from planck.codegen.bfloat import native
from planck.dtypes import Array, bf16
from planck.ir.graph import Value
from planck.ops.nn import Attention
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import first_node, symbol, without_casts

CHUNKS = (768, 192, 96, 48)  # queries of one unit


class FusedAttention:
    """softmax(q k^T) v, a few queries at a time."""

    name = "attention"
    exact = True

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
        if any(kernel.operands[v.name].strides[-1] != 1 for v in values if v.type.dims[-1] > 1):
            return No("rows are not contiguous")
        *lead, queries, _ = nodes[0].outputs[0].type.dims
        heads = math.prod(lead)
        chunks = [queries, *(chunk for chunk in CHUNKS if chunk < queries)]
        # The keys are transposed once a unit: the fewest units that still keep all threads busy.
        idle = [heads * -(-queries // chunk) < 2 * kernel.threads for chunk in chunks]
        ranked = sorted(zip(idle, range(len(chunks)), chunks, strict=True))
        return tuple({"chunk": chunk} for _, _, chunk in ranked)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = _spec(kernel, config["chunk"])
        name = symbol("attention", kernel, config)
        values = (*first_node(kernel).inputs, *kernel.graph.outputs)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=tuple(v.name for v in values),
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes(kernel.target.lanes),
            pairs=spec.pairs and native(kernel.target),
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return dict(constants)


def _spec(kernel: Kernel, chunk: int) -> AttentionSpec:
    node = first_node(kernel)
    op = node.op
    assert isinstance(op, Attention)
    (out,) = kernel.graph.outputs
    lead = out.type.dims[:-2]

    def rows(value: Value) -> Rows:
        own, strides = value.type.dims, kernel.operands[value.name].strides
        shift = len(lead) + 2 - len(own)
        dtype = value.type.dtype
        size = dtype.bytes
        far = [0] * shift + [size * s if n > 1 else 0 for n, s in zip(own, strides, strict=True)]
        return Rows(tuple(far[:-2]), far[-2], size if own[-1] > 1 else 0, dtype)

    q, k, v, *mask = node.inputs
    # Accumulators that leave registers for one k-step's operands.
    rows_by_vectors = {"avx512": (6, 4), "neon": (6, 4), "avx2": (6, 2), "portable": (4, 2)}
    rows_together, vectors = rows_by_vectors[kernel.target.isa]
    return AttentionSpec(
        lead=lead,
        queries=q.type.dims[-2],
        keys=k.type.dims[-2],
        depth=q.type.dims[-1],
        width=v.type.dims[-1],
        scale=op.scale,
        causal=op.causal,
        chunk=min(chunk, q.type.dims[-2]),
        rows=rows_together,
        vectors=vectors,
        q=rows(q),
        k=rows(k),
        v=rows(v),
        out=rows(out),
        mask=rows(mask[0]) if mask else None,
        pairs=q.type.dims[-1] % 2 == 0 and all(v.type.dtype is bf16 for v in (q, k, v)),
    )
