"""A builder that knows numbers: constants fold, and lists of numbers become tables in the code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planck.codegen.llvm import Builder, float_literal
from planck.dtypes import DType, f32


@dataclass(frozen=True, slots=True)
class Memory:
    """Byte strides of a channel-blocked operand."""

    batch: int
    block: int
    row: int
    column: int
    dtype: DType = f32


class TableBuilder(Builder):
    """A builder whose index arithmetic drops what is known: "0", other literals, equal entries."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[tuple[object, ...], str] = {}

    def times(self, value: str, factor: int) -> str:
        if value == "0" or factor == 0:
            return "0"
        if is_literal(value):
            return str(int(value) * factor)
        return self.let(f"mul nsw i64 {value}, {factor}")

    def plus(self, x: str, y: str) -> str:
        if is_literal(x) and is_literal(y):
            return str(int(x) + int(y))
        if "0" in (x, y):
            return y if x == "0" else x
        return self.let(f"add nsw i64 {x}, {y}")

    def entry(self, values: Sequence[int], index: str) -> str:
        """values[index]; a literal where all are equal."""
        if len(set(values)) == 1:
            return str(values[0])
        place = self.let(f"getelementptr i64, ptr {self.numbers(values)}, i64 {index}", "p")
        return self.load("i64", place, 8)

    def numbers(self, values: Sequence[int]) -> str:
        """A table of i64, written once for equal contents."""
        key = tuple(values)
        if key not in self._tables:
            self._tables[key] = self.table(f"numbers{len(self._tables)}", list(values))
        return self._tables[key]

    def float_place(self, values: Sequence[float], index: str) -> str:
        """A pointer to float32 values[index]."""
        key = ("float", *values)
        if key not in self._tables:
            name = f"@floats{len(self._tables)}"
            body = ", ".join(f"float {float_literal(v)}" for v in values)
            self.tables.append(
                f"{name} = private unnamed_addr constant [{len(values)} x float] [{body}], align 64"
            )
            self._tables[key] = name
        return self.let(f"getelementptr float, ptr {self._tables[key]}, i64 {index}", "p")

    def share(self, count: int, group: str, groups: int) -> tuple[str, str]:
        """The range of count things that belongs to one of some groups."""
        if groups == 1:
            return "0", str(count)
        after = self.plus(group, "1")
        return (
            self.let(f"udiv i64 {self.times(group, count)}, {groups}"),
            self.let(f"udiv i64 {self.times(after, count)}, {groups}"),
        )


def is_literal(value: str) -> bool:
    return value.lstrip("-").isdigit()
