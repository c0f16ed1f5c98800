"""Neighbouring channels of a blocked tensor as two masked loads, instead of a gather.

Channel c of a pixel lies at c // B * far + c % B. As many channels as a block has, from any one on,
stand in two runs: the rest of the first one's block, and the beginning of the next.

    lane     0 1 2 3 4 5 6 7       first load: lanes below B - c % B
    channel  5 6 7|8 9 . . .       second: the others, far - B elements further on

Notebook (Zen 5, AVX-512, two cores): YOLOv5s' three heads, 255 channels to rows of 85 and a
sigmoid, with copies of the scores behind them: 950 us by gathers; by runs, without copies, 570.
"""

from __future__ import annotations

from dataclasses import dataclass

from planck.codegen import memory
from planck.codegen.lanes import splat
from planck.codegen.memory import lanes_of
from planck.codegen.values import Values
from planck.loops.terms import Term, factor_of, split


@dataclass(frozen=True, slots=True)
class ChannelRun:
    """An offset rest + channel // block * far + channel % block."""

    rest: Term
    channel: Term
    block: int
    far: int


def channel_run(e: Values, offset: Term) -> ChannelRun | None:
    """The offset of a load along the channels of a blocked tensor; None for any other."""
    assert e.vector is not None
    parts, constant = split(offset)
    for inner, factor in parts.items():
        if inner.kind != "apply" or inner.what != "mod" or factor != 1:
            continue
        channel, divisor = inner.args
        if divisor.kind != "const" or divisor.what % e.lanes or factor_of(channel, e.vector) != 1:
            continue
        for outer, far in parts.items():
            same = outer.kind == "apply" and outer.what == "floordiv" and outer.args == inner.args
            if not same or channel.low is None or channel.low < 0:
                continue
            others = {a: f for a, f in parts.items() if a is not inner and a is not outer}
            rest = e.pool.affine(others, constant)
            if not e.is_vector(rest):
                return ChannelRun(rest, channel, divisor.what, far)
    return None


def read_run(e: Values, term: Term, run: ChannelRun) -> str:
    """The lanes of a load of such an offset."""
    b, count = e.b, e.lanes
    first, rest = e.start(run.channel), e.start(run.rest)
    block = b.let(f"udiv i64 {first}, {run.block}")
    inner = b.let(f"urem i64 {first}, {run.block}")
    start = b.let(f"mul nsw i64 {block}, {run.far}")
    start = b.let(f"add nsw i64 {start}, {inner}")
    start = b.let(f"add nsw i64 {start}, {rest}")
    there = b.let(f"sub nsw i64 {run.block}, {inner}")
    there = b.let(f"trunc i64 {there} to i32")
    mask_kind, whole_kind = lanes_of("i1", count), lanes_of("i32", count)
    ramp = ", ".join(f"i32 {k}" for k in range(count))
    own = b.let(f"icmp slt {whole_kind} <{ramp}>, {e.splat(there, 'i32')}")
    other = b.let(f"xor {mask_kind} {own}, {splat(mask_kind, True)}")
    next_ = b.let(f"add nsw i64 {start}, {run.far - run.block}")
    pointer, dtype = e.pointers[term.what], term.dtype
    lanes = memory.read_masked(b, pointer, start, dtype, count, own, e.target)
    more = memory.read_masked(b, pointer, next_, dtype, count, other, e.target)
    kind = lanes_of(memory.register(dtype), count)
    return b.let(f"select {mask_kind} {own}, {kind} {lanes}, {kind} {more}")
