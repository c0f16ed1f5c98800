"""Code in the manner of C: variables that are set again, conditions, and loops while one holds.

Variables are cells on the stack, of which LLVM makes registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from planck.codegen.llvm import Builder


class Cells:
    """Variables of one function, made where it begins.

    kinds:  the LLVM types of the variables, by name
    """

    def __init__(self, b: Builder, kinds: Mapping[str, str]) -> None:
        self.b, self.kinds = b, kinds
        self._cells = {name: b.let(f"alloca {kind}") for name, kind in kinds.items()}

    def __getitem__(self, name: str) -> str:
        return self.b.let(f"load {self.kinds[name]}, ptr {self._cells[name]}")

    def __setitem__(self, name: str, value: str) -> None:
        self.b.do(f"store {self.kinds[name]} {value}, ptr {self._cells[name]}")

    def step(self, name: str, by: str | int = 1) -> None:
        """An integer and so much more."""
        self[name] = self.b.let(f"add nsw {self.kinds[name]} {self[name]}, {by}")

    def at(self, pointer: str, index: str, kind: str = "float") -> str:
        """The address of an element."""
        return self.b.let(f"getelementptr {kind}, ptr {pointer}, i64 {index}", "p")

    def times(self, value: str, factor: int, more: str = "0") -> str:
        """value * factor + more."""
        product = self.b.let(f"mul nsw i64 {value}, {factor}")
        return self.b.let(f"add nsw i64 {product}, {more}")

    def offset(self, index: Sequence[str], strides: Sequence[int]) -> str:
        """The place of an element: the sum of its indices times the strides."""
        place = "0"
        for one, stride in zip(index, strides, strict=True):
            place = self.times(one, stride, place)
        return place

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        then, rest = self.b.label("then"), self.b.label("rest")
        self.b.branch_if(condition, then, rest)
        self.b.block(then)
        yield
        self.b.branch(rest)
        self.b.block(rest)

    @contextmanager
    def during(self, condition: Callable[[], str]) -> Iterator[None]:
        """Again and again, as long as the condition that is written in front of it holds."""
        head, body, done = (self.b.label(name) for name in ("while", "do", "od"))
        self.b.branch(head)
        self.b.block(head)
        self.b.branch_if(condition(), body, done)
        self.b.block(body)
        yield
        self.b.branch(head)
        self.b.block(done)


def unravel(b: Builder, number: str, extents: Sequence[int]) -> list[str]:
    """The indices along axes of an element's number in rows."""
    found: list[str] = []
    for extent in reversed(extents[1:]):
        found.append(b.let(f"urem i64 {number}, {extent}"))
        number = b.let(f"udiv i64 {number}, {extent}")
    return [number, *reversed(found)][: len(extents)]
