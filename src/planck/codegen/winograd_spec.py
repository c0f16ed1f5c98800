"""A Winograd convolution with everything decided: what its code generator reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from planck.codegen.bilinear import Algorithm
from planck.codegen.epilogue import Epilogue
from planck.codegen.microkernel import LINE_BYTES
from planck.codegen.tables import Memory
from planck.dtypes import DType, f16, f32

UNROLL: Final = 4  # k-steps written out


@dataclass(frozen=True, slots=True)
class Winograd:
    """A Winograd convolution with everything decided.

    axes:       the algorithms down and along
    channels:   of the input
    blocks:     of output channels
    image, out: rows and columns
    pads:       above and to the left
    rows:       most tiles in a group
    vectors:    output blocks in a panel; the packed weights of the last are filled up with zeros
    groups:     of tiles in a unit
    parts:      that the panels are divided into
    run:        input blocks summed before they are added to the others: long sums lose digits
    arguments:  names in the order of the pointer table; weights and bias by these two names
    shared:     whether the threads transform the input once for all of them, to memory they share
    scales:     name of what the sums of each output channel are multiplied by; then the transformed
                weights are float16, scaled to its range
    """

    lanes: int
    axes: tuple[Algorithm, Algorithm]
    batch: int
    channels: int
    blocks: int
    image: tuple[int, int]
    out: tuple[int, int]
    pads: tuple[int, int]
    rows: int
    vectors: int
    groups: int
    parts: int
    run: int
    arguments: tuple[str, ...]
    x: str
    weights: str
    bias: str
    memory: Mapping[str, Memory]
    epilogue: Epilogue
    scales: str = ""
    shared: bool = False

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of an output tile."""
        return self.axes[0].side, self.axes[1].side

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of the input that a tile reads."""
        return self.axes[0].window, self.axes[1].window

    @property
    def step(self) -> tuple[int, int]:
        """Rows and columns of the input from one tile to the next."""
        return self.side[0] * self.axes[0].stride, self.side[1] * self.axes[1].stride

    @property
    def positions(self) -> int:
        return self.axes[0].positions * self.axes[1].positions

    @property
    def planes(self) -> int:
        """Sums of positions that tiles are written from."""
        return self.axes[0].sums * self.axes[1].sums

    @property
    def order(self) -> list[tuple[int, list[int]]]:
        """Planes with their positions, as they are multiplied: those with most positions first."""
        down, along = self.axes
        found: dict[int, list[int]] = {}
        for i, row in enumerate(down.planes):
            for j, column in enumerate(along.planes):
                plane = row * along.sums + column
                found.setdefault(plane, []).append(i * along.positions + j)
        return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and along an image."""
        return -(-self.out[0] // self.side[0]), -(-self.out[1] // self.side[1])

    @property
    def tiles(self) -> int:
        return self.batch * self.grid[0] * self.grid[1]

    @property
    def all_groups(self) -> int:
        return -(-self.tiles // self.rows)

    @property
    def panels(self) -> int:
        return -(-self.blocks // self.vectors)

    @property
    def strips(self) -> int:
        """Ranges of groups that units take."""
        return -(-self.all_groups // self.groups)

    @property
    def units(self) -> int:
        return self.strips * self.parts

    @property
    def in_blocks(self) -> int:
        return -(-self.channels // self.lanes)

    @property
    def packed(self) -> DType:
        """Of the transformed weights in memory."""
        return f16 if self.scales else f32

    @property
    def slab(self) -> int:
        """Bytes of a panel's weights at one position."""
        return self.channels * self.vectors * self.lanes * self.packed.bytes

    @property
    def ahead_lines(self) -> int:
        """Lines of the weights of positions to come that UNROLL k-steps of a group fetch.

        The groups of a unit share them.
        """
        step = self.vectors * self.lanes * self.packed.bytes
        return -(-UNROLL * step // self.groups // LINE_BYTES)

    # Bytes of scratch

    @property
    def v_group(self) -> int:
        return self.in_blocks * self.rows * self.lanes * 4

    @property
    def v_position(self) -> int:
        return _odd_lines((self.all_groups if self.shared else self.groups) * self.v_group)

    @property
    def v_bytes(self) -> int:
        return self.positions * self.v_position

    @property
    def m_group(self) -> int:
        return self.rows * self.vectors * self.lanes * 4

    @property
    def m_plane(self) -> int:
        return _odd_lines(self.groups * self.m_group)

    @property
    def m_at(self) -> int:
        return 0 if self.shared else self.v_bytes

    @property
    def patch_at(self) -> int:
        return self.m_at + self.planes * self.m_plane

    @property
    def half_at(self) -> int:
        """What is transformed along one axis.

        The patch before it holds a window of the input, or a row of the output in float32.
        """
        reading = self.window[0] * self.window[1] * self.memory[self.x].column
        room = max(reading, self.side[1] * self.lanes * 4)
        return self.patch_at + -(-room // LINE_BYTES) * LINE_BYTES

    @property
    def scratch_bytes(self) -> int:
        reading = self.axes[0].positions * self.window[1]
        writing = self.side[0] * self.axes[1].sums
        return self.half_at + max(reading, writing) * self.lanes * 4


def _odd_lines(bytes_: int) -> int:
    """At least these bytes, an odd number of cache lines: strides that share no cache set."""
    return (-(-bytes_ // 64) | 1) * 64
