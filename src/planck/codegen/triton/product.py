"""Products of tiles on tensor cores: what convolutions and matrix products have in common.

    which tile of results is this block's, and which share of the sum over k
    addresses of both operands         (the weights' lines go to L2, or the weights are loaded)
    what each channel has              (of small tiles)
    gdc_wait()
    for step in the share:  load a[BM, BK], b[BK, BN]; add their product
    (write the sums to the workspace; whoever comes last adds all shares)
    epilogue and store

The blocks that share a sum count themselves: the last one leaves the counter zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.epilogue import Placing, Tail
from planck.codegen.triton.text import Text
from planck.dtypes import DType, f32

Precision = Literal["", "ieee", "tf32", "tf32x3"]
# Sums of a thread up to which what channels have waits for them in registers: larger tiles, those
# of large batches, have none to spare.
AHEAD: Final = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """How a product is cut.

    bm, bn, bk:  rows and columns of results of one block, and what it adds in one step
    splits:      blocks that share a sum
    trigger:     when the next kernel may begin: 0 at the end, 2 after the wait, 3 after the sum
    fetch:       whether the weights' lines are fetched to L2 before the wait
    precision:   of products of float32; "" for those of 16 bits
    held:        whether the share's weights are all loaded before the wait, and then all else at
                 once; shares must be equal
    """

    bm: int
    bn: int
    bk: int
    splits: int = 1
    warps: int = 4
    stages: int = 3
    trigger: int = 2
    fetch: bool = False
    precision: Precision = ""
    held: bool = False


class Loads(Protocol):
    """What is multiplied: the rows' and columns' side of a product."""

    @property
    def steps(self) -> int:
        """How many are added."""
        ...

    @property
    def outer(self) -> int:
        """Products beside each other: groups, phases, batches."""
        ...

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    def setup(self, t: Text) -> None:
        """Write the addresses; the block's `pm`, `pn` and `outer` are known, and m, n, kk."""
        ...

    def fetch(self, t: Text) -> None:
        """Fetch the weights of the block's share of the steps."""
        ...

    def left(self, t: Text) -> None:
        """Write the load of `a` of one `step`, of the dtype that is multiplied."""
        ...

    def right(self, t: Text) -> None:
        """Write the load of `b` of one `step`; held weights are there before the wait."""
        ...

    def placing(self, t: Text) -> Placing:
        """Write where results lie."""
        ...


@dataclass(frozen=True, slots=True)
class Product:
    """One kernel with everything decided."""

    symbol: str
    loads: Loads
    tile: Tile
    tail: Tail
    dependent: bool
    growth_bytes: int = 0
    dtypes: Sequence[DType] = field(default=(f32, f32))

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles of rows and of columns."""
        return -(-self.loads.rows // self.tile.bm), -(-self.loads.columns // self.tile.bn)


def write(product: Product) -> TritonCode:
    loads, tile = product.loads, product.tile
    t = Text(product.dependent)
    downs, acrosses = product.counts
    tiles = downs * acrosses * loads.outer
    _which_block(t, product)
    loads.setup(t)
    if tile.fetch:
        t.fetches = True
        loads.fetch(t)
    t(f"acc = tl.zeros(({tile.bm}, {tile.bn}), tl.float32)")
    placing: Placing | None = None
    loaded: dict[str, str] = {}
    if tile.held or tile.bm * tile.bn <= AHEAD * 32 * tile.warps:
        placing = loads.placing(t)
        loaded = product.tail.load_constants(t, placing, "n")
    held = _held_steps(loads.steps, tile.splits) if tile.held else []
    for k, step in enumerate(held):
        t(f"step = {step}")
        loads.right(t)
        t(f"b{k} = b")
    t.wait()
    if tile.trigger == 2:
        t.trigger()
    _multiply(t, product, held)
    if tile.trigger == 3:
        t.trigger()
    if tile.splits > 1:
        share_sums(t, tile.splits, tiles, (tile.bm, tile.bn))
    product.tail.write(t, "acc", placing or loads.placing(t), "n", loaded=loaded)
    return t.finish(
        product.symbol, tiles * tile.splits, tile.warps, tile.stages, product.growth_bytes
    )


def _held_steps(steps: int, splits: int) -> list[str]:
    """The steps of a block whose weights are held."""
    assert steps % splits == 0, "shares of held weights are equal"
    return [f"first + {k}" if splits > 1 else str(k) for k in range(steps // splits)]


def _multiply(t: Text, product: Product, held: Sequence[str]) -> None:
    loads, precision = product.loads, product.tile.precision
    precise = f', input_precision="{precision}"' if precision else ""
    if not held:
        t(f"for step in {t.share}:")
        t.indent += 1
        loads.left(t)
        loads.right(t)
        t(f"acc = tl.dot(a, b, acc{precise})")
        t.indent -= 1
    for k, step in enumerate(held):
        t(f"step = {step}")
        loads.left(t)
        t(f"a{k} = a")
    for k in range(len(held)):
        t(f"acc = tl.dot(a{k}, b{k}, acc{precise})")


def _which_block(t: Text, product: Product) -> None:
    loads, tile = product.loads, product.tile
    downs, acrosses = product.counts
    split_block(t, tile.splits, loads.steps)
    t(f"pn = block % {acrosses}" if acrosses > 1 else "pn = 0")
    t(f"pm = block // {acrosses} % {downs}" if loads.outer > 1 else f"pm = block // {acrosses}")
    if loads.outer > 1:
        t(f"outer = block // {acrosses * downs}")
    t(f"m = pm * {tile.bm} + tl.arange(0, {tile.bm})")
    t(f"n = pn * {tile.bn} + tl.arange(0, {tile.bn})")
    t(f"kk = tl.arange(0, {tile.bk})")


def split_block(t: Text, splits: int, steps: int) -> None:
    """Which tile, and which steps of its sum, are this block's: block, share, and t.share."""
    if splits == 1:
        t("block = tl.program_id(0)")
        t.share = f"range({steps})"
        return
    each = -(-steps // splits)
    t("pid = tl.program_id(0)", f"block = pid // {splits}", f"share = pid % {splits}")
    t(f"first = share * {each}", f"last = tl.minimum(first + {each}, {steps})")
    t.share = "range(first, last)"


def share_sums(t: Text, splits: int, tiles: int, shape: tuple[int, int]) -> None:
    """Leave the sums of all shares to the last one, which goes on inside the `if` written here.

    In a fixed order, so that results do not depend on who is last.
    """
    size = shape[0] * shape[1]
    sums, counters = t.workspace(tiles * splits * size), t.count(tiles)
    down, across = f"tl.arange(0, {shape[0]})", f"tl.arange(0, {shape[1]})"
    t(f"inside = {down}[:, None] * {shape[1]} + {across}[None, :]")
    t(f"sums = {sums} + block * {splits * size} + inside")
    t(f"tl.store(sums + share * {size}, acc)")
    t("tl.debug_barrier()")
    t(f'before = tl.atomic_add({counters} + block, 1, sem="acq_rel", scope="gpu")')
    t(f"if before == {splits - 1}:")
    t.indent += 1
    t("tl.debug_barrier()")
    t(f"acc = tl.zeros({shape}, tl.float32)")
    t(f"for other in range({splits}):")
    t(f'    acc += tl.load(sums + other * {size}, cache_modifier=".cg")')
    t(f"tl.store({counters} + block, 0)")
