"""Convolution, depthwise convolution and 1x1 convolution in one kernel: codegen/depth_first.py.

%h = Conv(%x, %w), pointwise nodes            widens; left out where %x itself is slid over
%d = Conv(%h, %k, groups=C), pointwise nodes  slides
%y = Conv(%d, %v), pointwise nodes            narrows; left out where %d is the result
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from planck.codegen.convolution import Convolution
from planck.codegen.depth_first import (
    DepthFirst,
    from_ring,
    from_slab,
    into_ring,
    into_slab,
    ring_rows,
    steps_of,
    write,
)
from planck.codegen.microkernel import tallest
from planck.codegen.sliding import Sliding
from planck.codegen.tables import Memory
from planck.codegen.tiling import forward
from planck.dtypes import Array
from planck.refusal import No
from planck.tactics.chain import Chain, read_chain
from planck.tactics.convolution import Problem, lower
from planck.tactics.direct import Direct, tile_cost
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import symbol
from planck.tactics.sliding import WIDTHS, Depthwise

# Of few channels, the next tile starts before the last has ended if fewer loads are in between.
SHORT_SUMS: Final = 0.3
_MOST_ROWS: Final = 4
_LINE_BYTES: Final = 64


class FusedDepthwise:
    """Depthwise convolution with the convolutions before and behind it."""

    name = "depth_first"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        chain = read_chain(kernel)
        if not isinstance(chain, Chain):
            return chain
        return tuple(_configs(chain))

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = _spec(_take(kernel), config)
        name = symbol(self.name, kernel, config)
        return Code(
            symbol=name,
            llvm=write(kernel.target, name, spec),
            arguments=spec.arguments,
            tiles=spec.units,
            scratch_bytes=spec.scratch_bytes,
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        chain = _take(kernel)
        slide = {"columns": config["slide_columns"]}
        packed = dict(Depthwise().pack(chain.slide.form.kernel, slide, constants))
        for problem, stage in ((chain.widen, "widen"), (chain.narrow, "narrow")):
            if problem:
                own = _own(config, stage)
                packed |= Direct().pack(problem.form.kernel, own, constants)
        return packed


def _take(kernel: Kernel) -> Chain:
    chain = read_chain(kernel)
    assert isinstance(chain, Chain), chain
    return chain


# Configurations


def _configs(chain: Chain) -> list[dict[str, int]]:
    """Configurations, the best guess first.

    rows:   output rows of a step
    parts:  of an image's rows; each but the first computes rows that the one before it also needs
    """
    target, slide = chain.kernel.target, chain.slide
    fixed = {"slide_columns": min(WIDTHS[target.isa][0], slide.out[1])}
    vectors = 1
    if chain.widen:
        _, columns, vectors = _tile(chain.widen, 1, slide.image[1], loads=SHORT_SUMS)
        fixed |= {"widen_columns": columns, "widen_vectors": vectors}
    # What a panel of hidden channels makes in a step stays in L1.
    row = vectors * slide.image[1] * slide.strides[0] * target.vector_bytes
    best = max(1, min(_MOST_ROWS, target.l1_bytes // row, slide.out[0]))
    parts = -(-chain.kernel.threads // slide.batch)
    found: dict[tuple[int, int], dict[str, int]] = {}
    for rows, count in ((best, parts), (2 * best, parts), (best, 2 * parts), (best // 2, parts)):
        rows = max(1, min(rows, slide.out[0]))
        count = min(count, -(-slide.out[0] // rows))
        config = {"rows": rows, "parts": count, **fixed}
        if chain.narrow:
            tall, columns, wide = _tile(chain.narrow, rows, slide.out[1])
            config |= {"narrow_rows": tall, "narrow_columns": columns, "narrow_vectors": wide}
        found.setdefault((rows, count), config)
    return list(found.values())


def _tile(problem: Problem, height: int, width: int, loads: float = 0.0) -> tuple[int, int, int]:
    """Rows, columns and vectors of the tile that the cost model likes best.

    loads:  what a load costs beside a multiply-add
    """
    target = problem.form.kernel.target
    tiles: dict[tuple[int, int, int], float] = {}
    for vectors in range(1, min(4, problem.blocks) + 1):
        most = tallest(target, vectors)
        for rows in range(1, height + 1):
            if rows == 1 or width <= most // rows:
                tile = (rows, min(width, most // rows), vectors)
                share = 1 / vectors + 1 / (tile[0] * tile[1])
                tiles[tile] = tile_cost(problem, (height, width), *tile) * (1 + loads * share)
    return min(tiles, key=lambda tile: tiles[tile])


def _own(config: Config, stage: str) -> Config:
    """The configuration of one convolution, as the direct tactic has it."""
    own = {key: config.get(f"{stage}_{key}", 1) for key in ("rows", "columns", "vectors")}
    return {**own, "unroll": 4, "chunk": 0, "panel_first": False}


# Lowering


def _spec(chain: Chain, config: Config) -> DepthFirst:
    """A chain with a configuration's decisions, ready to be written."""
    problem, target = chain.slide, chain.kernel.target
    size = target.vector_bytes
    slide = Depthwise().spec(problem.form.kernel, {"columns": config["slide_columns"]})
    steps = steps_of(
        slide.rows, problem.kernel[0], problem.dilations[0], problem.image[0], config["rows"]
    )
    widen = narrow = None
    rooms: dict[str, int] = {}
    if chain.widen:
        rows = ring_rows(steps)
        row = problem.image[1] * size
        ring = Memory(0, rows * row, row, size)
        rooms[slide.x] = slide.blocks * ring.block
        widen = _widen(chain.widen, config)
        widen = replace(
            widen,
            rows=into_ring(widen.rows, rows),
            memory={**widen.memory, slide.x: ring},
        )
        slide = replace(
            slide,
            rows=from_ring(slide.rows, rows),
            memory={**slide.memory, slide.x: ring},
        )
    if chain.narrow:
        narrow = lower(chain.narrow, _own(config, "narrow"))
        row = problem.out[1] * size
        slab = Memory(0, max(s.end - s.begin for s in steps) * row, row, size)
        rooms[narrow.x] = slide.blocks * slab.block
        narrow = replace(
            narrow,
            rows=from_slab(steps, config["narrow_rows"]),
            columns=forward(problem.out[1], problem.out[1], config["narrow_columns"], 1),
            groups=(1, 1),
            memory={**narrow.memory, narrow.x: slab},
        )
        slide = replace(
            slide,
            rows=into_slab(slide.rows, steps),
            memory={**slide.memory, narrow.x: slab},
        )
    stages: list[Convolution | Sliding] = [s for s in (widen, slide, narrow) if s is not None]
    at = max(stage.scratch_bytes(target) for stage in stages)
    scratch = {}
    for name, room in rooms.items():
        at = -(-at // _LINE_BYTES) * _LINE_BYTES
        scratch[name] = at
        at += room
    return DepthFirst(
        batch=problem.batch,
        steps=steps,
        groups=config["parts"],
        widen=widen,
        slide=slide,
        narrow=narrow,
        scratch=scratch,
        scratch_bytes=at,
    )


def _widen(problem: Problem, config: Config) -> Convolution:
    """The first convolution, in strips of one row."""
    sizes = 1, config["widen_columns"]
    rows, columns = map(
        forward, problem.image, problem.out, sizes, problem.kernel,
        problem.strides, problem.dilations, problem.pads,
    )  # fmt: skip
    spec = lower(problem, _own(config, "widen"))
    return replace(spec, rows=rows, columns=columns, groups=(1, 1))
