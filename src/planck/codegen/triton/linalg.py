"""Determinants: one matrix a block, eliminated column by column in float64, by largest pivots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, unravel
from planck.codegen.triton.text import Text, power_of_two

LARGEST: Final = 64  # rows of a matrix that fits into a block's registers


@dataclass(frozen=True, slots=True)
class Det:
    """One kernel."""

    symbol: str
    x: Tensor
    out: Tensor
    dependent: bool


def write(own: Det) -> TritonCode:
    """Beyond its last row and column a matrix goes on as the identity."""
    t = Text(own.dependent)
    n = own.x.dims[-1]
    side = power_of_two(n)
    t("at = tl.program_id(0) + tl.zeros([1, 1], tl.int32)")
    batch = unravel(t, "at", own.out.dims, "b")
    t(f"row = tl.arange(0, {side})[:, None]", f"column = tl.arange(0, {side})[None, :]")
    t.wait()
    t.trigger()
    t(f"there = (row < {n}) & (column < {n})")
    t(f"a = ({own.x.load(t, [*batch, 'row', 'column'], 'there')}).to(tl.float64)")
    t("a = tl.where(there, a, tl.where(row == column, 1.0, 0.0))")
    t("made = tl.full([1, 1], 1.0, tl.float64)")
    t(f"for k in range({n}):")
    t.indent += 1
    t("down = tl.sum(tl.where(column == k, a, 0.0), 1, keep_dims=True)")
    t("size = tl.where(row >= k, tl.abs(down), -1.0)")
    t("most = tl.max(size, 0, keep_dims=True)")
    t(f"best = tl.min(tl.where(size == most, row, {side}), 0, keep_dims=True)")
    t("best = tl.where(most != most, k, best)")
    t("chosen = tl.sum(tl.where(row == best, a, 0.0), 0, keep_dims=True)")
    t("first = tl.sum(tl.where(row == k, a, 0.0), 0, keep_dims=True)")
    t("a = tl.where(row == best, first, tl.where(row == k, chosen, a))")
    t("pivot = tl.sum(tl.where(column == k, chosen, 0.0), 1, keep_dims=True)")
    t("made = made * tl.where(best == k, pivot, -pivot)")
    t("down = tl.sum(tl.where(column == k, a, 0.0), 1, keep_dims=True)")
    t("factor = down / tl.where(pivot == 0, 1.0, pivot)")
    t("a = tl.where(row > k, a - factor * chosen, a)")
    t.indent -= 1
    own.out.store(t, batch, "made", "at >= 0")
    return t.finish(own.symbol, own.out.size, 4, 2)
