"""Scaled dot-product attention."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planck.dtypes import Array, bool_, from_numpy
from planck.errors import ShapeError
from planck.ir.graph import Op
from planck.ir.types import TensorType
from planck.loops import expr
from planck.loops.expr import Const, Expr, Select, Tensor
from planck.ops.nn.windows import accumulator
from planck.ops.shapes import broadcast, count, need_kind, same_dtype


@dataclass(frozen=True)
class Attention(Op):
    """softmax(scale * q k^T + mask) v, for q[..., Lq, D], k[..., Lk, D], v[..., Lk, Dv].

    mask:    an optional fourth input, added to the scores; broadcasts to [..., Lq, Lk]
    causal:  query i sees the keys up to i
    """

    scale: float
    causal: bool = False

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        count("Attention", inputs, 3, 4)
        dtype = same_dtype("Attention", inputs)
        need_kind("Attention", dtype, "f")
        q, k, v = (kind.dims for kind in inputs[:3])
        fits = min(len(q), len(k), len(v)) >= 2
        if not fits or q[-1] != k[-1] or k[-2] != v[-2]:
            raise ShapeError(f"Attention of q {list(q)}, k {list(k)}, v {list(v)}")
        lead = broadcast("Attention", q[:-2], k[:-2], v[:-2])
        scores = (*lead, q[-2], k[-2])
        if len(inputs) == 4 and broadcast("Attention", scores, inputs[3].dims) != scores:
            raise ShapeError(f"Attention of scores {list(scores)}, mask {list(inputs[3].dims)}")
        return (TensorType((*lead, q[-2], v[-1]), dtype),)

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        dtype = inputs[0].dtype
        wide = accumulator(from_numpy(dtype)).numpy
        q, k, v, *mask = (array.astype(wide, copy=False) for array in inputs)
        scores = np.matmul(q, k.swapaxes(-1, -2)) * np.asarray(self.scale, wide)
        if mask:
            scores = scores + mask[0]
        if self.causal:
            scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = raised / raised.sum(axis=-1, keepdims=True)
        return (np.matmul(weights, v).astype(dtype, copy=False),)

    def body(self, inputs: tuple[Tensor, ...], index: tuple[Expr, ...], output: int = 0) -> Expr:
        q, k, v = inputs[:3]
        *lead, i, j = index
        wide = accumulator(q.dtype)

        def score(key: Expr) -> Expr:
            (d,) = expr.variables((*index, key), (q.shape[-1],))
            left, right = q.broadcast((*lead, i, d)), k.broadcast((*lead, key, d))
            product = expr.apply("mul", expr.cast(left, wide), expr.cast(right, wide))
            value = expr.apply("mul", expr.reduce("sum", (d,), product), self.scale)
            if len(inputs) == 4:
                mask = inputs[3].broadcast((*lead, i, key))
                value = expr.apply("add", value, expr.cast(mask, wide))
            if self.causal:
                seen = expr.Apply("less_equal", (key, i), bool_)
                value = Select(seen, value, Const(-np.inf, wide))
            return value

        (one,) = expr.variables(index, (k.shape[-2],))
        top = expr.reduce("max", (one,), score(one))
        (key,) = expr.variables((*index, top), (k.shape[-2],))
        raised = expr.apply("exp", expr.apply("sub", score(key), top))
        own = expr.cast(v.broadcast((*lead, key, j)), wide)
        total = expr.reduce("sum", (key,), expr.apply("mul", raised, own))
        whole = expr.reduce("sum", (key,), raised)
        return expr.cast(expr.apply("div", total, whole), q.dtype)
