"""BitCast: a copy of whole numbers of the same width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from planck import dtypes
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor, lanes, unravel
from planck.codegen.triton.text import Text

BLOCK: Final = 512
_WHOLE: Final = {1: dtypes.u8, 2: dtypes.i16, 4: dtypes.i32, 8: dtypes.i64}  # by bytes


@dataclass(frozen=True, slots=True)
class BitCast:
    """One kernel."""

    symbol: str
    x: Tensor
    out: Tensor
    dependent: bool


def write(own: BitCast) -> TritonCode:
    t = Text(own.dependent)
    x, out = (replace(one, dtype=_WHOLE[one.dtype.bytes]) for one in (own.x, own.out))
    grid = lanes(t, x.size, BLOCK)
    place = unravel(t, "at", x.dims, "x")
    t.wait()
    t.trigger()
    t(f"made = {x.load(t, place, 'there')}")
    out.store(t, place, "made", "there")
    return t.finish(own.symbol, grid, 4, 2)
