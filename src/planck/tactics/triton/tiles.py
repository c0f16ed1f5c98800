"""Which tiles a product may be cut into, and what they would take on a GPU like Hopper.

The model: a launch is LAUNCH_US; a block's loads are in flight for LATENCY_US, those of stages - 1
steps at a time; blocks that share a multiprocessor share its tensor cores and its way to L2;
nothing is faster than memory. Against a prototype's tuned layers on an H100 (ResNet-50 and BERT at
batch 1, 8, 18, 64): the fastest tile is among its first eight in 107 of 108, and the first in 36;
its times are 0.65 to 1.5 of the measured ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from planck.codegen.triton.product import Tile
from planck.codegen.triton.text import power_of_two
from planck.tactics.kernel import Config
from planck.target import Target

LAUNCH_US: Final = 1.8
LATENCY_US: Final = 0.8  # from a load to its use
BLOCK_US: Final = 0.5  # addresses, epilogue
SHARE_US: Final = 2.0  # the sums of others, the counter, and waiting for the last
FLOPS_PER_US: Final = 5.0e6  # of a multiprocessor, 16 bits
L2_BYTES_PER_US: Final = 110e3  # to one multiprocessor
MEMORY_BYTES_PER_US: Final = 3.0e6
APART: Final = 0.2  # of the shorter of both, computing and memory, that they do not overlap
SHARED_BYTES: Final = 227 * 1024
MULTIPROCESSORS: Final = 132
SLOWER: Final = {"": 1.0, "tf32": 2.0, "tf32x3": 6.0, "ieee": 16.0}

# rows, columns, channels of a step, warps, stages
TILES: Final = (
    (64, 64, 64, 4, 4), (64, 32, 64, 4, 5), (32, 64, 64, 4, 5), (32, 32, 64, 4, 6),
    (128, 64, 64, 4, 4), (64, 128, 64, 4, 4), (128, 128, 64, 4, 3), (128, 128, 64, 8, 4),
    (128, 256, 64, 8, 3), (256, 128, 64, 8, 3), (64, 256, 64, 4, 3), (64, 64, 128, 4, 3),
    (256, 64, 64, 8, 3), (128, 32, 64, 4, 4), (256, 32, 64, 8, 3), (16, 64, 128, 4, 4),
    (16, 32, 128, 4, 5), (128, 16, 64, 4, 4), (64, 32, 64, 4, 8), (64, 64, 64, 4, 6),
    (32, 32, 64, 4, 8), (128, 256, 64, 8, 4),
)  # fmt: skip
HELD: Final = ((64, 64), (64, 32), (128, 64))  # rows, columns, where weights are held
HELD_STEP: Final = 256  # channels of a step: the fewest steps, as their loads need not overlap
HELD_BYTES: Final = 160 * 1024  # of a share, so that the block before it finds room too
SPLITS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
LEAST_STEPS: Final = 2  # of one share


@dataclass(frozen=True, slots=True)
class Work:
    """A product to be cut.

    sums:       numbers added in one result, and whether a step must not leave a part of them:
    part:       a tap's channels
    bytes:      read and written at the least
    element_bytes:  of what is multiplied
    """

    rows: int
    columns: int
    outer: int
    sums: int
    part: int
    bytes: int
    element_bytes: int
    precision: str = ""

    def steps(self, bk: int) -> int:
        return self.sums // self.part * -(-self.part // bk)


def ranked(work: Work, target: Target) -> list[Tile]:
    """Tiles with the number of blocks that share a sum, the best first."""
    found: dict[Tile, float] = {}
    for tile in _fitting(work, shared_of(target)):
        blocks = -(-work.rows // tile.bm) * -(-work.columns // tile.bn) * work.outer
        steps = work.steps(tile.bk)
        for splits in SPLITS:
            enough = splits == 1 or (steps // splits >= LEAST_STEPS)
            if enough and (splits == 1 or blocks * splits <= 2 * cores_of(target)):
                cut = replace(tile, splits=_even(steps, splits))
                found[cut] = cost_us(work, cut, target)
    return sorted(found, key=lambda tile: found[tile])


def ranked_held(work: Work, target: Target) -> list[Tile]:
    """Tiles that hold their weights, the best first: where all blocks run at once, short sums."""
    found: dict[Tile, float] = {}
    rows, columns = power_of_two(work.rows), max(16, power_of_two(work.columns))
    bk = min(HELD_STEP, max(16, power_of_two(work.part)))
    room = min(HELD_BYTES, shared_of(target))
    for bm, bn in HELD if work.element_bytes == 2 else ():
        blocks = -(-work.rows // bm) * -(-work.columns // bn) * work.outer
        if bn > max(32, columns) or (bm > 32 and bm > 2 * rows):
            continue
        steps = work.steps(bk)
        for splits in SPLITS:
            depth = steps // splits * bk
            if steps % splits or 2 * depth * (bm + bn) > room:
                continue
            if blocks * splits <= 2 * cores_of(target):
                tile = Tile(bm, bn, bk, splits, 4, depth // bk + 1, held=True)
                found[tile] = cost_us(work, tile, target)
    return sorted(found, key=lambda tile: found[tile])


def _even(steps: int, splits: int) -> int:
    """No more shares than have something to add."""
    return -(-steps // -(-steps // splits))


def _fitting(work: Work, room: int) -> list[Tile]:
    """Tiles that do not waste what they need not, with room for their operands."""
    rows, columns = power_of_two(work.rows), max(16, power_of_two(work.columns))
    depth = max(16, power_of_two(work.part))
    made: dict[tuple[int, ...], Tile] = {}
    for bm, bn, bk, warps, stages in TILES:
        if work.element_bytes == 4:
            bk = bk // 2
            if bm * bn > 128 * 64 and work.precision != "tf32":
                continue
        if work.precision == "ieee":
            bk = min(bk, 32)
            if bm * bn > 64 * 64:
                continue
        whole, bk = bk, min(bk, depth)
        if (bn > columns and bn > 32) or (bm > 32 and bm > 2 * rows):
            continue
        if bm == 16 and work.rows > 32:
            continue
        bn = min(bn, columns)
        made.setdefault((bm, bn, bk, warps, stages if bk == whole else 0), Tile(
            bm, bn, bk, 1, warps, stages, 2, False, work.precision,  # type: ignore[arg-type]
        ))  # fmt: skip
    return [tile for tile in made.values() if shared_bytes(work, tile) <= room]


def shared_bytes(work: Work, tile: Tile) -> int:
    """Of the operands in flight."""
    return tile.stages * (tile.bm + tile.bn) * tile.bk * work.element_bytes


def cost_us(work: Work, tile: Tile, target: Target) -> float:
    cores = cores_of(target)
    tiles = -(-work.rows // tile.bm) * -(-work.columns // tile.bn) * work.outer
    blocks = tiles * tile.splits
    room = min(shared_of(target) // (shared_bytes(work, tile) + 1024), 16 // tile.warps, 4)
    together = max(1, min(room, -(-blocks // cores)))
    waves = -(-blocks // (cores * together))
    flops = 2 * tile.bm * tile.bn * tile.bk * SLOWER[work.precision]
    moved = (tile.bm + tile.bn) * tile.bk * work.element_bytes
    busy = max(together * flops / FLOPS_PER_US, together * moved / L2_BYTES_PER_US)
    busy = max(busy, LATENCY_US / (tile.stages - 1))
    steps = -(-work.steps(tile.bk) // tile.splits)
    stored = together * tile.bm * tile.bn * work.element_bytes / L2_BYTES_PER_US
    time = waves * (BLOCK_US + steps * busy + stored)
    if tile.splits > 1:
        time += SHARE_US + tile.splits * tile.bm * tile.bn * 4 / L2_BYTES_PER_US
    memory = work.bytes / MEMORY_BYTES_PER_US
    return LAUNCH_US + max(time, memory) + APART * min(time, memory)


def cores_of(target: Target) -> int:
    """Multiprocessors, of a target that does not say as on an H100."""
    return target.cores if target.cores > 1 else MULTIPROCESSORS


def shared_of(target: Target) -> int:
    """Bytes of shared memory that a block may have, as above."""
    return target.l1_bytes if target.cores > 1 else SHARED_BYTES


def configs(tiles: list[Tile], limit: int, held: Sequence[Tile] = ()) -> list[dict[str, object]]:
    """Tiles with what else is tuned: the best tiles in more ways than the others.

    held:  among the others by turns. All may let the next kernel begin later: that stands behind
           them, as only a network's graph can tell
    """
    made: list[Tile] = []
    for k, tile in enumerate(tiles[:limit]):
        made += [tile, *held[k : k + 1]]
        if k == 0 and tile.stages > 2:
            made.append(replace(tile, stages=tile.stages - 1))
        if k < 2:
            made.append(replace(tile, fetch=True))
    later = [replace(tile, trigger=3) for tile in made[:limit] if not tile.fetch]
    return [config_of(tile) for tile in (*made[:limit], *later)]


def interleaved(found: Sequence[Sequence[Config]]) -> tuple[Config, ...]:
    """The offers of several precisions: the best of each first."""
    longest = max(map(len, found))
    return tuple(own[k] for k in range(longest) for own in found if k < len(own))


def config_of(tile: Tile) -> dict[str, object]:
    return {name: getattr(tile, name) for name in Tile.__dataclass_fields__}


def tile_of(config: Config) -> Tile:
    return Tile(**{name: config[name] for name in Tile.__dataclass_fields__})
