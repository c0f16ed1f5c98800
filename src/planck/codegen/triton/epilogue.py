"""The pointwise steps behind an anchor, as Triton expressions on a tile of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from planck.codegen.epilogue import Epilogue
from planck.codegen.triton.scalar import literal, memory
from planck.codegen.triton.text import Text, load
from planck.dtypes import SHORT_FLOATS, DType, f32


class Placing(Protocol):
    """Where a tile's elements lie, all as text.

    mask:     which elements of the tile there are; "" where all
    columns:  the same of its columns alone
    """

    @property
    def mask(self) -> str: ...

    @property
    def columns(self) -> str: ...

    def offset(self, name: str) -> str:
        """Of the tile's elements in an operand of the kind "full" or "resized", or in an output."""
        ...

    def along(self, name: str) -> str:
        """Of the tile's columns in an operand of the kind "channel"."""
        ...


@dataclass(frozen=True, slots=True)
class Tail:
    """An epilogue with all that is needed to write it.

    bias:     operand added to each channel's sum first; "" where there is none
    aligned:  which operands begin at multiples of 16 bytes
    parts:    (output, its first channel, the channel behind its last), where the only result goes
              to several outputs
    """

    epilogue: Epilogue
    aligned: frozenset[str]
    bias: str = ""
    bias_dtype: DType = f32
    parts: tuple[tuple[str, int, int], ...] = ()

    def pointer(self, t: Text, name: str) -> str:
        return t.pointer(name, self.epilogue.dtype(name), name in self.aligned)

    def write(self, t: Text, value: str, placing: Placing, column: str, prefix: str = "e") -> None:
        """Store what the steps make of a tile.

        value:   the variable that holds the anchor's float32 results
        column:  the variable of the columns' numbers, which parts are told apart by
        prefix:  of the variables that are made
        """
        known = {self.epilogue.source: value}
        if self.bias:
            bias = t.pointer(self.bias, self.bias_dtype, self.bias in self.aligned)
            more = load(f"{bias} + {column}", placing.columns)
            t(f"{value} += {more}[None, :]")
        known |= {name: literal(number, f32) for name, number in self.epilogue.constants.items()}
        short = all(self.epilogue.dtype(name) in SHORT_FLOATS for name in self.epilogue.outputs)
        for step in self.epilogue.steps:
            for name in step.args:
                if name not in known:
                    known[name] = f"{prefix}_{name}"
                    t(f"{known[name]} = {self._load(t, name, placing)}")
            made = f"{prefix}_{step.result}"
            numbers = [self.epilogue.constants.get(a) for a in step.args]
            call = t.functions.call(step.fn, [known[a] for a in step.args], f32, numbers, short)
            t(f"{made} = {call}")
            known[step.result] = made
        if self.parts:
            (result,) = self.epilogue.outputs
            made = known[self.epilogue.rounded.get(result, result)]
            for name, begin, end in self.parts:
                self._store_part(t, name, (begin, end), made, placing, column)
            return
        for name in self.epilogue.outputs:
            made = known[self.epilogue.rounded.get(name, name)]
            self._store(t, name, made, placing.offset(name), placing.mask)

    def _load(self, t: Text, name: str, placing: Placing) -> str:
        kind, pointer = self.epilogue.operands[name], self.pointer(t, name)
        if kind == "scalar":
            return f"tl.load({pointer}).to(tl.float32)"
        if kind == "channel":
            read = load(f"{pointer} + {placing.along(name)}", placing.columns)
            return f"{read}[None, :].to(tl.float32)"
        return load(f"{pointer} + ({placing.offset(name)})", placing.mask) + ".to(tl.float32)"

    def _store(self, t: Text, name: str, made: str, offset: str, mask: str) -> None:
        pointer, spelled = self.pointer(t, name), memory(self.epilogue.dtype(name))
        masked = f", mask={mask}" if mask else ""
        t(f"tl.store({pointer} + ({offset}), ({made}).to({spelled}){masked})")

    def _store_part(
        self, t: Text, name: str, span: tuple[int, int], made: str, placing: Placing, column: str
    ) -> None:
        begin, end = span
        own = f"(({column} >= {begin}) & ({column} < {end}))[None, :]"
        mask = f"{placing.mask} & {own}" if placing.mask else own
        self._store(t, name, made, placing.offset(name), mask)
