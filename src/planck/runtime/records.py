"""The memory of one execution context, and the records that the native engine loop reads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final

import numpy as np

from planck.device import system
from planck.dtypes import Array
from planck.plan import record
from planck.plan.model import Place, Plan, Space, Step

# How long a thread without work looks out for more before it sleeps. Waking one costs about as
# much; longer only takes the processor from others.
_SPIN_US: Final = 40
_APART: Final = 128  # bytes between what different threads write: processors fetch lines in pairs


class Records:
    """Arena, scratch, pointer tables and step records, and the native functions that use them.

    cells:  by (space, index), the pointer-table positions of an input or output and the byte
            offset that each adds
    """

    def __init__(self, plan: Plan, image: system.CodeImage, weights: Array, threads: int) -> None:
        self.threads, self._image, self._weights = threads, image, weights
        self._symbols = plan.symbols
        self.arena = system.allocate(plan.arena_bytes)
        self._shared = {
            "workspace": system.allocate(plan.workspace_bytes),
            "counters": system.allocate(plan.counter_bytes),
        }
        self.cells: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self._bases = {
            "arena": system.address(self.arena),
            "weights": system.address(weights),
            **{name: system.address(memory) for name, memory in self._shared.items()},
        }
        self._table = system.allocate(8 * sum(len(s.arguments) for s in plan.steps))
        self.pointers = self._table.data.cast("Q")
        self._steps = system.allocate(record.STEP_BYTES * max(len(plan.steps), 1))
        self._write_steps(plan.steps)
        self.ticks = np.zeros(max(len(plan.steps), 1), np.int64)
        stride = max((s.scratch_bytes for s in plan.steps), default=0)
        stride = -(-stride // _APART) * _APART
        self._scratch = system.allocate(stride * threads)
        self._clock = self._function(record.CLOCK, ctypes.c_int64)
        self._context = system.allocate(record.CONTEXT_BYTES)
        self._words = self._context.data.cast("Q")
        self.address = system.address(self._context)
        # With more threads than processors, one that spins keeps another from its work.
        together = 1 < threads <= system.available_cpus()
        spin = round(_SPIN_US * self.ticks_per_us()) if together else 0
        for offset, value in (
            (record.CONTEXT_STEPS, system.address(self._steps)),
            (record.CONTEXT_SCRATCH, system.address(self._scratch)),
            (record.CONTEXT_SCRATCH_STRIDE, stride),
            (record.CONTEXT_SYSTEM, system.system_call()),
            (record.CONTEXT_SPIN, spin),
            (record.CONTEXT_WORK, record.FINISHED),
        ):
            self._words[offset // 8] = value
        self._run = self._function(record.RUN, None, ctypes.c_void_p, ctypes.c_int64)

    def run(self, first: int, last: int) -> None:
        """Run compiled steps [first, last) with all threads."""
        self._words[record.CONTEXT_LAST // 8] = last
        self._run(self.address, first)

    def measure(self, on: bool) -> None:
        """Whether runs add the ticks of each step to `ticks`."""
        value = system.address(self.ticks) if on else 0
        self._words[record.CONTEXT_PROFILE // 8] = value

    def clock(self) -> int:
        """Ticks, as the engine loop counts them."""
        return int(self._clock())

    def ticks_per_us(self) -> float:
        return system.ticks_per_us(self._clock)

    def crew(self, cpus: Sequence[int]) -> system.Crew:
        """The other threads, at work inside the engine loop until they are stopped."""
        work = self._function(record.WORKER, None, ctypes.c_void_p, ctypes.c_int64)
        end = self._function(record.STOP, None, ctypes.c_void_p)

        def body(index: int) -> Callable[[], None]:
            def sit() -> None:
                with system.pinned(cpus[index]) if cpus else nullcontext():
                    work(self.address, index)

            return sit

        return system.Crew(
            [body(index) for index in range(1, self.threads)], lambda: end(self.address)
        )

    def memory(self, space: Space) -> Array:
        """The arena or the weights."""
        return self.arena if space == "arena" else self._weights

    def _write_steps(self, steps: Sequence[Step]) -> None:
        fields = self._steps.data.cast("Q")
        table = system.address(self._table)
        position = 0
        for number, step in enumerate(steps):
            # A context of one thread runs every step as a single unit, without atomics.
            grain = step.grain if self.threads > 1 else max(step.tiles, 1)
            grain = max(grain, -(-step.tiles // record.MAX_UNITS))
            symbol = self._symbols.get(step.symbol, 0)
            for offset, value in (
                (record.STEP_CODE, self._image.base + symbol),
                (record.STEP_ARGUMENTS, table + 8 * position),
                (record.STEP_TILES, step.tiles),
                (record.STEP_GRAIN, grain),
                (record.STEP_UNITS, max(-(-step.tiles // grain), 1)),
            ):
                fields[(number * record.STEP_BYTES + offset) // 8] = value
            for place in step.arguments:
                self._write_pointer(position, place)
                position += 1

    def _write_pointer(self, position: int, place: Place) -> None:
        base = self._bases.get(place.space)
        if base is None:
            cell = (position, place.offset_bytes)
            self.cells.setdefault((place.space, place.index), []).append(cell)
        else:
            self.pointers[position] = base + place.offset_bytes

    def _function(self, symbol: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        return self._image.function(self._symbols[symbol], result, *arguments)
