"""The memory planner: packs buffers by their lifetimes into one arena."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from planck.plan.model import aligned


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that are needed from step `first` to step `last`, both included."""

    name: str
    bytes: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """The bytes that it takes in the arena."""
        return aligned(max(self.bytes, 1))


def lower_bound(buffers: list[Buffer]) -> int:
    """The most bytes alive at one step: no packing can be smaller."""
    change: dict[int, int] = {}
    for buffer in buffers:
        change[buffer.first] = change.get(buffer.first, 0) + buffer.size
        change[buffer.last + 1] = change.get(buffer.last + 1, 0) - buffer.size
    alive = peak = 0
    for step in sorted(change):
        alive += change[step]
        peak = max(peak, alive)
    return peak


_ORDERS: Final[tuple[Callable[[Buffer], tuple[object, ...]], ...]] = (
    lambda b: (-b.bytes, b.first, b.name),
    lambda b: (-(b.last - b.first + 1) * b.bytes, b.first, b.name),
    lambda b: (-(b.last - b.first), -b.bytes, b.name),
    lambda b: (b.first, -b.bytes, b.name),
    lambda b: (-b.last, -b.bytes, b.name),
)

_TRIES: Final = 16  # for each order
_PAIRS: Final = 200_000  # of buffers, that these tries may compare


def pack(buffers: list[Buffer]) -> tuple[dict[str, int], int]:
    """Offsets by name, and the arena's bytes: the best of several greedy orders.

    Each order places one buffer after another at the lowest gap that is free for its lifetime. Then
    whoever came to lie on top goes first, again and again, as long as the least is not reached.
    """
    bound = lower_bound(buffers)
    tries = max(min(_PAIRS // max(len(buffers), 1) ** 2, _TRIES), 1)
    best: tuple[dict[str, int], int] | None = None
    for order in _ORDERS:
        row = sorted(buffers, key=order)
        for _ in range(tries):
            offsets, top = _greedy(row)
            if best is None or top < best[1]:
                best = offsets, top
            if top <= bound:
                return best
            highest = max(row, key=lambda b: offsets[b.name] + b.size)
            if highest is row[0]:
                break
            row.remove(highest)
            row.insert(0, highest)
    assert best is not None
    return best


def _greedy(buffers: list[Buffer]) -> tuple[dict[str, int], int]:
    placed: list[tuple[int, int, Buffer]] = []  # offset, end, buffer; by offset
    offsets: dict[str, int] = {}
    top = 0
    for buffer in buffers:
        size = buffer.size
        at = 0
        for offset, end, other in placed:
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if offset - at >= size:
                break
            at = max(at, end)
        offsets[buffer.name] = at
        top = max(top, at + size)
        placed.append((at, at + size, buffer))
        placed.sort(key=lambda entry: entry[0])
    return offsets, top
