"""The tactic "loops" of GPUs: any kernel whose operators say their bodies.

Notebook (Triton 3.9, sm_90; where no time is told, first guesses are reasoned)

- A layer norm of 768, float16, one H200, us in graphs of 24 launches. 8192 rows in tiles of 4 rows
  and 8 warps took 11.2 while each value was divided by its row's deviation, 664 instructions a
  thread, and 9.6 multiplied by the reciprocal, 472 (predicted: 7; the memory's speed would give
  5.3). In another run, all with the reciprocal: those tiles 11.0, one warp a row 11.2, two rows
  10.2, 4 rows in three steps of 256 columns, where no lane is idle, 9.8. 1024 rows 2.4, one warp a
  row 2.2. Behind the embeddings' sum in float32 16.4 before, 11.7 with the reciprocal and a warp a
  row.
- PTX of the best guesses, bfloat16: a chain of 1x64x56x56 in NHWC, a max pool, a softmax of 128, a
  layer norm of 768 and a reordering of heads all load and store 16 bytes at once. A float32 image
  in NCHW to bfloat16 in NHWC does so too, through shared memory. A transpose to rows of 255 must
  store two bytes.
- A softmax whose row fits into a tile loads it once and computes each exponential once.
- Compile times: 0.04 to 0.2 s, 9 windows of a pool 0.1, 25 windows 0.6; 14 to 56 registers for the
  43 different regions without products of seven networks.
- A global average of 1280x7x7 in NHWC would be ten blocks if each thread summed its own channel,
  one read after the other: tiles of 8 channels and 64 pixels make it 160 blocks.
- A sigmoid of 81 of 255 channels, float32 in NHWC to rows of 81: every access is of 4 bytes, next
  to its neighbour's lane. Each element more of a thread is about 65 instructions in SASS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

import numpy as np

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.loops import write
from planck.codegen.triton.scalar import HEADER, pointer, supported
from planck.codegen.triton.tiles import Tiling, Way, divisible, groups, reductions, size
from planck.dtypes import Array, bool_, f32, i32
from planck.loops.lower import Nest, frugal
from planck.loops.terms import factor_of, walk
from planck.plan.model import COUNTERS, WORKSPACE
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.loops import buffers_of, fusible, nests_of
from planck.tactics.triton.operands import dependent

MOST_COLUMNS: Final = 4096  # of a tile: registers of eight warps
TILE: Final = 4096  # elements of a tile of rows
LANES: Final = 32  # of a warp
THREADS: Final = 256  # of a multiprocessor, below which it idles
LEAST_TILES: Final = 2  # of a part of a shared reduction
ALONE: Final = 16  # elements of a reduction that one thread goes through at once
FEW: Final = 64  # elements of a reduction that one thread may as well go through
LEAST: Final = 256  # elements of a tile
WARP_COLUMNS: Final = 1024  # of a row that one warp goes through, without shared memory
WAVES: Final = 2  # blocks for each multiprocessor, at the least, before blocks grow
MAX_OFFERS: Final = 8


class Loops:
    """One nest for all outputs of one layout."""

    name = "loops"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        fits = fusible(kernel.graph, supported)
        if isinstance(fits, No):
            return fits
        nests = nests_of(kernel, LANES)
        if len(kernel.graph.nodes) > 1:
            for nest in nests:
                answer = frugal(nest)
                if isinstance(answer, No):
                    return answer
        return tuple(_configs(kernel, max(nests, key=lambda nest: size(nest.loops))))

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        nests = nests_of(kernel, LANES)
        main = max(nests, key=lambda nest: size(nest.loops))
        tilings = [
            _tiling(config) if nest is main else _tiling(_alone(_configs(kernel, nest)))
            for nest in nests
        ]
        values = {v.name: v.type.dtype for v in kernel.graph.values()}
        tables = [name for name, array in kernel.graph.weights.items() if array.size > 1]
        used = {t.what for nest in nests for t in walk(nest.roots) if t.kind == "load"}
        used |= {store.operand for nest in nests for store in nest.stores}
        ends = (*kernel.graph.inputs, *kernel.graph.outputs)
        names = [n for n in dict.fromkeys((*(v.name for v in ends), *tables)) if n in used]
        symbol = f"loops_{kernel.key}_{'_'.join(str(v) for v in config.values())}"
        types = [pointer(values[name]) for name in names]
        aligned = [n not in kernel.operands or kernel.operands[n].aligned for n in names]
        rows = partial = 0
        if config["parts"] > 1:
            names, aligned = [*names, WORKSPACE, COUNTERS], [*aligned, True, True]
            kind = reductions(main)[0].args[0].dtype
            kind = i32 if kind is bool_ else f32 if kind.is_float and kind.bits < 32 else kind
            types += [pointer(kind), pointer(i32)]
            rows = -(-size(groups(main, "rows").rows) // config["rows"])
            partial = rows * config["rows"] * config["parts"] * kind.bytes
        text, count = write(symbol, nests, names, buffers_of(kernel), tilings, dependent(kernel))
        return TritonCode(
            symbol=symbol,
            source=HEADER + text,
            arguments=tuple(names),
            types=tuple(types),
            aligned=tuple(aligned),
            grid=count,
            warps=config["warps"],
            dependent=dependent(kernel),
            workspace_bytes=partial,
            counters=rows,
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        tables = {n: np.asarray(a) for n, a in kernel.graph.weights.items() if a.size > 1}
        return dict(constants) | tables


def _tiling(config: Config) -> Tiling:
    return Tiling(
        config["way"], config["rows"], config["columns"], config["trigger"], config["parts"]
    )


def _alone(configs: Sequence[Config]) -> Config:
    """The best way in which no blocks share a reduction: only the main nest has a workspace."""
    return next(config for config in configs if config["parts"] == 1)


def _configs(kernel: Kernel, nest: Nest) -> list[Config]:
    """Ways, tiles and triggers, the best guess first."""
    reduced = max((size(t.what[1]) for t in reductions(nest)), default=0)
    found = groups(nest, "rows")
    tiles: list[tuple[Way, int, int]]
    few = size(nest.loops) < kernel.target.cores * THREADS
    if reduced and (size(found.columns) > 1 or reduced > (ALONE if few else FEW)):
        tiles = _row_tiles(kernel, nest, reduced)
    else:
        tiles = [("flat", 1, n) for n in _flat_blocks(kernel, size(nest.loops))]
        if nest.across and not reduced:
            sides = ((32, 32), (64, 32), (32, 64), (16, 64), (64, 64))
            extents = [nest.extent(nest.across), nest.extent(nest.vector or "")]
            across: list[tuple[Way, int, int]] = []
            for r, c in sides:
                c = min(c, _power(extents[1]))
                across.append(("across", min(max(r, 512 // c), _power(extents[0])), c))
            tiles = [*dict.fromkeys(across), tiles[0]]
        elif reduced > ALONE:
            tiles += _row_tiles(kernel, nest, reduced)[:2]
    # Elements of a thread: 16 bytes of what is stored.
    share = max(4, 16 // max(store.dtype.bytes for store in nest.stores))
    configs: list[Config] = [
        {
            "way": way,
            "rows": r,
            "columns": c,
            "warps": _warps(r * c, share),
            "trigger": trigger,
            "parts": 1,
        }
        for trigger, (way, r, c) in product((2, 3), tiles)
    ]
    way, _, c = tiles[0]
    if way == "rows" and reduced <= c <= WARP_COLUMNS and not _rows_are_contiguous(nest):
        configs.insert(1, {**configs[0], "rows": 1, "warps": 1})
    return (_shared(kernel, nest, configs[0], reduced) + configs)[:MAX_OFFERS]


def _shared(kernel: Kernel, nest: Nest, config: Config, reduced: int) -> list[Config]:
    """The same where several blocks share a tile's reduction, if there are few and it is long."""
    if config["way"] != "rows" or not divisible(nest):
        return []
    tiles = -(-size(groups(nest, "rows").rows) // config["rows"])
    columns = min(config["columns"], max(LEAST, 1024 // config["rows"]))
    parts = min(kernel.target.cores // tiles, reduced // (LEAST_TILES * columns), 64)
    if parts < 2:
        return []
    parts = _power(parts + 1) // 2
    shared = {"columns": columns, "warps": 4}
    return [{**config, **shared, "parts": n} for n in dict.fromkeys((parts, max(parts // 4, 2)))]


def _flat_blocks(kernel: Kernel, count: int) -> list[int]:
    """Sizes of blocks: all multiprocessors work before a block grows."""
    wanted = count // (WAVES * max(kernel.target.cores, 1))
    guess = max(128, min(1024, _power(wanted + 1) // 2))
    sizes = (guess, guess * 2, guess // 2, guess * 4)
    return [n for n in dict.fromkeys(sizes) if 64 <= n <= 4096 and (n == guess or n < 2 * count)]


def _row_tiles(kernel: Kernel, nest: Nest, reduced: int) -> list[tuple[Way, int, int]]:
    """Tiles of rows and of what is reduced."""
    found = groups(nest, "rows")
    rows = size(found.rows)
    longest = max(reduced, size(found.columns))
    columns = min(_power(longest), MOST_COLUMNS)
    if _rows_are_contiguous(nest):
        wide = min(32, _power(rows))
        while wide > 8 and rows < wide * kernel.target.cores:
            wide //= 2  # eight elements are a sector of 16 bits
        columns = min(columns, max(16, TILE // wide))
        shapes = [(wide, columns), (wide * 2, columns), (wide, max(columns // 4, 1))]
        shapes.append((max(wide // 2, 1), columns))
    else:
        share = max(1, rows // (WAVES * max(kernel.target.cores, 1)))
        most = max(1, TILE // columns)
        guess = max(min(_power(share + 1) // 2, most, 16), LEAST // columns, 1)
        guess = min(guess, _power(rows))
        shapes = [(guess, columns), (guess * 2, columns), (max(guess // 2, 1), columns)]
        if columns > 1024:
            shapes.append((1, 1024))
        whole = longest & -longest
        if LEAST <= whole < columns:  # no lane is idle, but a row is read again for each reduction
            shapes.append((guess, whole))
    return [("rows", r, c) for r, c in dict.fromkeys(shapes) if r < 2 * rows]


def _rows_are_contiguous(nest: Nest) -> bool:
    """Whether what is reduced is contiguous along rows rather than along what is reduced."""
    score = 0
    for reduction in reductions(nest):
        for term in walk(reduction.args):
            if term.kind == "load":
                steps = {n: factor_of(term.args[0], n) for n in term.free}
                inner = any(steps.get(n) == 1 for n, _ in reduction.what[1])
                outer = any(steps.get(n) == 1 for n in reduction.free)
                score += outer - inner
    return score > 0


def _warps(elements: int, share: int) -> int:
    return max(1, min(8, elements // (LANES * share)))


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()
