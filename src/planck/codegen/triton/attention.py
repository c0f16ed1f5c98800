"""Attention: some queries of one head against all keys, a block of keys at a time.

    for keys in blocks:  scores = q k^T * scale + mask
                         the largest so far rises: what is summed shrinks with it
                         weights = 2^(scores - largest); sum += weights; acc += weights v
    write acc / sum

Scores, largest values and sums are float32; weights are rounded to v's dtype for tensor cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.matmul import Matrix, write_batch
from planck.codegen.triton.scalar import memory
from planck.codegen.triton.text import Text, both, load, power_of_two, total
from planck.dtypes import f32

LOG2_E = math.log2(math.e)
LEAST = -1e38


@dataclass(frozen=True, slots=True)
class Attention:
    """One kernel with everything decided.

    lead:       batch axes, heads among them
    q, k, v, out, mask:  (operand, how it lies); a mask broadcasts by strides of 0
    bm, bn:     queries and keys of a block
    precision:  of products of float32, "" for 16 bits
    """

    symbol: str
    lead: tuple[int, ...]
    queries: int
    keys: int
    depth: int
    width: int
    scale: float
    causal: bool
    q: tuple[str, Matrix]
    k: tuple[str, Matrix]
    v: tuple[str, Matrix]
    out: tuple[str, Matrix]
    mask: tuple[str, Matrix] | None
    bm: int
    bn: int
    warps: int
    stages: int
    trigger: int
    precision: str
    dependent: bool


def write(own: Attention) -> TritonCode:
    t = Text(own.dependent)
    tiles = -(-own.queries // own.bm)
    t(f"tile = tl.program_id(0) % {tiles}", f"outer = tl.program_id(0) // {tiles}")
    t(f"m = tile * {own.bm} + tl.arange(0, {own.bm})")
    write_batch(t, own.lead)
    depth, width = _padded(own.depth), _padded(own.width)
    t(f"kk = tl.arange(0, {depth})", f"j = tl.arange(0, {width})", f"n = tl.arange(0, {own.bn})")
    rows = f"(m < {own.queries})[:, None]" if own.queries % own.bm else ""
    deep = f"kk < {own.depth}" if own.depth != depth else ""
    t(f"k_at = {_start(t, own, own.k)} + {_by('n', own.k[1].row)}[None, :] + "
      f"{_by('kk', own.k[1].column)}[:, None]")  # fmt: skip
    t(f"v_at = {_start(t, own, own.v)} + {_by('n', own.v[1].row)}[:, None] + "
      f"{_by('j', own.v[1].column)}[None, :]")  # fmt: skip
    t(f"most = tl.full(({own.bm},), float('-inf'), tl.float32)")
    t(
        f"sum = tl.zeros(({own.bm},), tl.float32)",
        f"acc = tl.zeros(({own.bm}, {width}), tl.float32)",
    )
    t.wait()
    if own.trigger == 2:
        t.trigger()
    q_at = (f"{_start(t, own, own.q)} + {_by('m', own.q[1].row)}[:, None] + "
            f"{_by('kk', own.q[1].column)}[None, :]")  # fmt: skip
    t(f"q = {load(q_at, both(rows, f'({deep})[None, :]' if deep else ''))}")
    _loop(t, own, rows, deep, width)
    if own.trigger == 3:
        t.trigger()
    name, place = own.out
    there = both(rows, f"(j < {own.width})[None, :]" if own.width != width else "")
    out = t.pointer(name, place.dtype, place.aligned)
    far = total(place.at(own.lead), f"{_by('m', place.row)}[:, None]",
                f"{_by('j', place.column)}[None, :]")  # fmt: skip
    masked = f", mask={there}" if there else ""
    t(f"tl.store({out} + {far}, (acc * (1.0 / sum)[:, None]).to({memory(place.dtype)}){masked})")
    return t.finish(own.symbol, tiles * math.prod(own.lead), own.warps, own.stages)


def _loop(t: Text, own: Attention, rows: str, deep: str, width: int) -> None:
    precise = f', input_precision="{own.precision}"' if own.precision else ""
    last = str(own.keys)
    if own.causal:  # no later key than the block's last query
        t(f"end = tl.minimum((tile + 1) * {own.bm}, {last})")
        last = "end"
    t(f"for first in range(0, {last}, {own.bn}):")
    t.indent += 1
    partial = bool(own.keys % own.bn)
    if partial or own.causal:
        t("at = first + n")
    if partial:
        t(f"real = at < {own.keys}")
    key = both("real[None, :]" if partial else "", f"({deep})[:, None]" if deep else "")
    t(f"k = {load(f'k_at + first * {own.k[1].row}', key)}")
    value = both("real[:, None]" if partial else "",
                 f"(j < {own.width})[None, :]" if own.width != width else "")  # fmt: skip
    t(f"v = {load(f'v_at + first * {own.v[1].row}', value)}")
    t(f"s = tl.dot(q, k{precise}) * {float(own.scale) * LOG2_E!r}")
    if own.mask:
        _, place = own.mask
        down = f"{_by('m', place.row)}[:, None]" if place.row else ""  # one row for all queries
        across = f"{_by('(first + n)', place.column)}[None, :]"
        mask_at = total(_start(t, own, own.mask), down, across)
        read = load(mask_at, both(rows if down else "", "real[None, :]" if partial else ""))
        t(f"added = {read}.to(tl.float32)")
        # The least float32 hides keys, too, and is no number any more when it is multiplied.
        t(f"s += tl.where(added < {LEAST!r}, added, added * {LOG2_E!r})")
    hidden = both("real[None, :]" if partial else "", "at[None, :] <= m[:, None]" * own.causal)
    if hidden:
        t(f"s = tl.where({hidden}, s, float('-inf'))")
    t("higher = tl.maximum(most, tl.max(s, 1))")
    t("level = tl.where(higher == float('-inf'), 0.0, higher)")  # nothing seen yet: no NaN from it
    t("shrink = tl.math.exp2(most - level)", "weights = tl.math.exp2(s - level[:, None])")
    t("sum = sum * shrink + tl.sum(weights, 1)", "most = higher")
    cast = "" if own.v[1].dtype is f32 else f".to({memory(own.v[1].dtype)})"
    t(f"acc = tl.dot(weights{cast}, v, acc * shrink[:, None]{precise})")
    t.indent -= 1


def _padded(size: int) -> int:
    return max(16, power_of_two(size))


def _start(t: Text, own: Attention, operand: tuple[str, Matrix]) -> str:
    name, place = operand
    return total(t.pointer(name, place.dtype, place.aligned), place.at(own.lead))


def _by(what: str, stride: int) -> str:
    return f"({what} * {stride})"
