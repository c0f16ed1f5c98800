"""The records that Python fills and the native engine loop reads: their layout in bytes.

Both wings need it: `codegen/engine.py` writes the loop, `runtime/context.py` fills the records.
A change here is a change of the plan format: raise `plan.format.FORMAT`.
"""

from __future__ import annotations

from typing import Final

# One step. All fields are i64 or pointers.
STEP_BYTES: Final = 64
STEP_CODE: Final = 0  # pointer to the kernel
STEP_ARGUMENTS: Final = 8  # pointer to its pointer table
STEP_TILES: Final = 16
STEP_GRAIN: Final = 24  # tiles of one unit, the piece that a thread claims
STEP_UNITS: Final = 32  # ceil(tiles / grain); 1 is run by the thread that gets there

# A work word counts units in two 16-bit halves.
MAX_UNITS: Final = 0xFFFF

# One context. What a step changes lies in one cache line, so that its opening, its claims and its
# end move one line between cores: 0.1 us a step with two threads (Zen 4), 0.2 with a line each.
CONTEXT_BYTES: Final = 192
CONTEXT_STEPS: Final = 0  # pointer to the step records
CONTEXT_LAST: Final = 8  # the step before which to stop
CONTEXT_PROFILE: Final = 16  # pointer to one i64 of ticks a step, or null
CONTEXT_SCRATCH: Final = 24  # pointer to the first thread's scratch
CONTEXT_SCRATCH_STRIDE: Final = 32  # bytes from one thread's scratch to the next one's
CONTEXT_SYSTEM: Final = 40  # pointer to the C library's `syscall`
CONTEXT_SPIN: Final = 48  # ticks to spin before sleeping
CONTEXT_STOP: Final = 56  # 1: workers return
CONTEXT_WORK: Final = 64  # ticket << 32 | front << 16 | back: units [front, back) are free
CONTEXT_TICKET: Final = 68  # the upper half, on which sleepers wait
CONTEXT_PENDING: Final = 72  # units of the open step that are not reported done
CONTEXT_CURRENT: Final = 80  # the open step
CONTEXT_CLOCK: Final = 88  # ticks when the step now running began
CONTEXT_SLEEPERS: Final = 128  # threads that wait, or are about to

FINISHED: Final = 0xFFFF0000  # lower half of the work word once the last step is done

RUN: Final = "planck_run"  # void (context, i64 first)
WORKER: Final = "planck_worker"  # void (context, i64 index); returns after a stop
STOP: Final = "planck_stop"  # void (context)
CLOCK: Final = "planck_clock"  # i64 ()
