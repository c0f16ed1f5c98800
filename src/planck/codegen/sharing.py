"""Work that the threads of a step share before its units: claimed by turns, awaited by all.

Every thread that runs units of the step first claims pieces until none is left, then waits for what
others have claimed. Only threads at work are waited for: who claims a piece does it at once. The
last unit of the step leaves the counters zero, as it found them.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from planck.codegen.llvm import Builder, pause
from planck.target import Target

_APART: Final = 128  # bytes between counters: processors fetch lines in pairs
_CLAIMED, _DONE, _UNITS = (number * _APART for number in range(3))
COUNTER_BYTES: Final = 3 * _APART


class Sharing:
    """Writes the claims, the wait and the end of a kernel whose threads share some pieces of work.

    counters:  pointer to COUNTER_BYTES, zero when the step begins
    """

    def __init__(self, target: Target, b: Builder, counters: str, pieces: int) -> None:
        self.target, self.b, self.pieces = target, b, pieces
        self.claimed, self.done, self.units = (
            b.offset(counters, at) for at in (_CLAIMED, _DONE, _UNITS)
        )

    def claims(self) -> Claims:
        """`with sharing.claims() as piece:` writes what is done with each piece."""
        return Claims(self)

    def wait(self) -> None:
        """Until all pieces are done."""
        b = self.b
        look, rest, go = b.label("look"), b.label("rest"), b.label("go")
        b.branch(look)
        b.block(look)
        done = b.let(f"load atomic i32, ptr {self.done} acquire, align 4")
        b.branch_if(b.let(f"icmp eq i32 {done}, {self.pieces}"), go, rest)
        b.block(rest)
        pause(b, self.target)
        b.branch(look)
        b.block(go)

    def leave(self, units: int) -> None:
        """After units [%begin, %end) of `units`: the counters are zero again once all were here."""
        b = self.b
        last, gone = b.label("last"), b.label("gone")
        own = b.let("trunc i64 " + b.let("sub i64 %end, %begin") + " to i32")
        before = b.let(f"atomicrmw add ptr {self.units}, i32 {own} acq_rel, align 4")
        after = b.let(f"add i32 {before}, {own}")
        b.branch_if(b.let(f"icmp eq i32 {after}, {units}"), last, gone)
        b.block(last)
        for counter in (self.claimed, self.done, self.units):
            b.do(f"store atomic i32 0, ptr {counter} monotonic, align 4")
        b.branch(gone)
        b.block(gone)


class Claims:
    """A loop over the pieces that this thread gets."""

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing

    def __enter__(self) -> str:
        b, own = self.sharing.b, self.sharing
        self.claim, self.end = b.label("claim"), b.label("claimed")
        body = b.label("piece")
        b.branch(self.claim)
        b.block(self.claim)
        number = b.let(f"atomicrmw add ptr {own.claimed}, i32 1 monotonic, align 4")
        b.branch_if(b.let(f"icmp slt i32 {number}, {own.pieces}"), body, self.end)
        b.block(body)
        return b.let(f"zext i32 {number} to i64")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        b, own = self.sharing.b, self.sharing
        b.let(f"atomicrmw add ptr {own.done}, i32 1 release, align 4")
        b.branch(self.claim)
        b.block(self.end)
