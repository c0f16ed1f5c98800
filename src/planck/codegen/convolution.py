"""Direct convolution: output tiles that stay in registers while taps and channels stream past.

A unit of work is one panel of output channels by one group of tiles of one image. Inside it:

    for strips of rows, strips of columns:            a tile: rows x columns x vectors accumulators
        for blocks of input channels:
            for each body, for its taps:              table-driven; a body is a subset of pixels
                for k in the block, unrolled:         broadcast x[pixel, k], multiply by w[k, :]
        epilogue and store

In bfloat16 a k is a pair of neighbouring channels, four bytes like a float32.

Taps that fall outside the image are left out of the tables. What is left near a border is taken by
bodies that cover fewer pixels, and where these would be too many by one that reads zeros instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from planck.codegen.epilogue import Epilogue
from planck.codegen.tables import Memory
from planck.codegen.tiling import Axis
from planck.dtypes import DType, f32
from planck.target import Target

# Bodies of one tile shape before the rest shares one that selects its pixels at run time; each
# costs about 10 ms of compile time and 2 kB of code.
MAX_BODIES: Final = 5

Pixels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with everything decided.

    blocks:       blocks of output channels
    channels:     k in each input block: lanes, or all channels of a row-major input
    k_bytes:      from one k to the next
    in_blocks:    whole input blocks that a panel reads
    tail:         k in one further block that is not whole; 0 for none
    pairs:        a k is two neighbouring channels in bfloat16, of input and weights
    half:         the tail's last pair has one channel only
    parts:        arguments that the output is written to in parts, and the first block of each: a
                  multiple of vectors
    nearest:      of operands that the epilogue reads resized: the bytes from their first element
                  to that of each row of the output, and of each column
    planes:       of outputs that lie in rows: bytes from one channel to the next; else empty
    last_lanes:   channels in the last output block; only for planes
    packed:       of the weights where they are no pairs: float32, or float16
    starts:       first input block of each panel (grouped convolutions); empty: always 0
    taps:         filter positions in all, and along a row
    vectors:      output blocks in a panel; the last panel has what is left
    chunk:        input blocks accumulated before going to the next tile; 0 for all
    groups:       parts that the strips of rows and of columns are divided into
    panel_first:  neighbouring units share a panel rather than pixels
    arguments:    names in the order of the pointer table; weights and bias by these two names
    """

    batch: int
    blocks: int
    channels: int
    k_bytes: int
    in_blocks: int
    tail: int
    starts: tuple[int, ...]
    taps: tuple[int, int]
    rows: Axis
    columns: Axis
    vectors: int
    unroll: int
    chunk: int
    groups: tuple[int, int]
    panel_first: bool
    arguments: tuple[str, ...]
    x: str
    weights: str
    bias: str
    memory: Mapping[str, Memory]
    epilogue: Epilogue
    pairs: bool = False
    half: bool = False
    parts: tuple[tuple[str, int], ...] = ()
    nearest: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    planes: Mapping[str, int] = field(default_factory=dict)
    last_lanes: int = 0
    packed: DType = f32

    @property
    def panels(self) -> int:
        return -(-self.blocks // self.vectors)

    @property
    def weight_bytes(self) -> int:
        """Of one lane of the weights of a k."""
        return 4 if self.pairs else self.packed.bytes

    @property
    def units(self) -> int:
        return self.batch * self.panels * self.groups[0] * self.groups[1]

    def scratch_bytes(self, target: Target) -> int:
        tile = self.rows.sizes[0] * self.columns.sizes[0]
        vectors = 0 if self.epilogue.cheap else tile * self.vectors
        if self.planes:
            vectors += len(self.planes) * self.vectors * (tile + target.lanes) + 1
        return vectors * target.vector_bytes


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of one tile shape: pixel subsets, and for each class and body its taps.

    taps:  (row shift, column shift, tap number, pixels)
    """

    subsets: tuple[Pixels, ...]
    selecting: bool  # the last body takes the pixels of each tap from a table
    lists: tuple[tuple[tuple[tuple[int, int, int, Pixels], ...], ...], ...]


def bodies(spec: Convolution, height: int, width: int) -> Bodies:
    """Sort the taps of all classes (row case, column case) of a tile shape into few bodies."""
    whole = tuple(range(height * width))
    classes = [
        [
            (r.shift, c.shift, r.index * spec.taps[1] + c.index,
             tuple(y * width + x for y in r.pixels for x in c.pixels))
            for r in rows for c in columns
        ]
        for rows in spec.rows.cases[height] for columns in spec.columns.cases[width]
    ]  # fmt: skip
    used = Counter(pixels for taps in classes for *_, pixels in taps)
    others = [pixels for pixels, _ in used.most_common() if pixels != whole]
    selecting = len(others) >= MAX_BODIES and spec.k_bytes <= 4
    subsets = [whole, *(others[: MAX_BODIES - 2] if selecting else others)]
    place = {pixels: i for i, pixels in enumerate(subsets)}
    if selecting:
        subsets.append(whole)
    last = len(subsets) - 1
    lists = tuple(
        tuple(
            tuple(tap for tap in taps if place.get(tap[3], last) == body)
            for body in range(len(subsets))
        )
        for taps in classes
    )
    return Bodies(tuple(subsets), selecting, lists)
