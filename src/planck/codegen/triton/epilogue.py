"""The pointwise steps behind an anchor, as Triton expressions on a tile of its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from planck.codegen.epilogue import Epilogue
from planck.codegen.triton.scalar import literal, memory
from planck.codegen.triton.text import Text, both, load
from planck.codegen.triton.views import Part, View, store_parts
from planck.dtypes import SHORT_FLOATS, DType, f32

# Functions whose ways for 16 bits err by about 2e-6 of their values: sums of products of 16 bits
# err by more, whatever they are written as.
CLOSE: Final = frozenset(["sigmoid", "silu"])


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
    constants:  operands that no step writes
    parts:    (output, its first channel, the channel behind its last), where the only result goes
              to several outputs
    views:    of operands of the kind "moved", and of outputs that lie in another shape
    short:    whether what the anchor multiplies has 16 bits
    """

    epilogue: Epilogue
    aligned: frozenset[str]
    bias: str = ""
    bias_dtype: DType = f32
    constants: frozenset[str] = frozenset()
    parts: tuple[tuple[str, int, int], ...] = ()
    views: Mapping[str, View] = field(default_factory=dict)
    short: bool = False

    def pointer(self, t: Text, name: str) -> str:
        return t.pointer(name, self.epilogue.dtype(name), name in self.aligned)

    def load_constants(self, t: Text, placing: Placing, column: str) -> dict[str, str]:
        """Load what each channel has, before the wait where it can be; gives the variables."""
        names = [self.bias, *self.epilogue.of_kind("channel")]
        loaded = {name: f"c_{name}" for name in names if name in self.constants}
        for name, variable in loaded.items():
            t(f"{variable} = {self._load_channels(t, name, placing, column)}")
        return loaded

    def write(
        self,
        t: Text,
        value: str,
        placing: Placing,
        column: str,
        prefix: str = "e",
        loaded: Mapping[str, str] | None = None,
    ) -> None:
        """Store what the steps make of a tile.

        value:   the variable that holds the anchor's float32 results
        column:  the variable of the columns' numbers, which parts are told apart by
        prefix:  of the variables that are made
        loaded:  variables that hold what `load_constants` has loaded
        """
        loaded = loaded or {}
        known = {self.epilogue.source: value}
        if self.bias:
            more = loaded.get(self.bias) or self._load_channels(t, self.bias, placing, column)
            t(f"{value} += {more}[None, :]")
        known |= {name: literal(number, f32) for name, number in self.epilogue.constants.items()}
        dtypes = [self.epilogue.dtype(name) for name in self.epilogue.outputs]
        rounded = all(dtype in SHORT_FLOATS for dtype in dtypes)
        for step in self.epilogue.steps:
            for name in step.args:
                if name not in known:
                    known[name] = f"{prefix}_{name}"
                    t(f"{known[name]} = {self._load(t, name, placing, column, loaded)}")
            made = f"{prefix}_{step.result}"
            numbers = [self.epilogue.constants.get(a) for a in step.args]
            short = rounded or (self.short and step.fn in CLOSE)
            call = t.functions.call(step.fn, [known[a] for a in step.args], f32, numbers, short)
            t(f"{made} = {call}")
            known[step.result] = made
        if self.parts:
            (result,) = self.epilogue.outputs
            made = known[self.epilogue.rounded.get(result, result)]
            for name, begin, end in self.parts:
                self._store_part(t, name, (begin, end), made, placing, column)
            return
        stored = {n: known[self.epilogue.rounded.get(n, n)] for n in self.epilogue.outputs}
        if self.views:
            self._store_moved(t, stored, placing, prefix)
            return
        for name, value in stored.items():
            self._store(t, name, value, placing.offset(name), placing.mask)

    def _load_channels(self, t: Text, name: str, placing: Placing, column: str) -> str:
        if name == self.bias:
            bias = t.pointer(name, self.bias_dtype, name in self.aligned)
            return load(f"{bias} + {column}", placing.columns)
        return load(f"{self.pointer(t, name)} + {placing.along(name)}", placing.columns)

    def _load(
        self, t: Text, name: str, placing: Placing, column: str, loaded: Mapping[str, str]
    ) -> str:
        if self.epilogue.operands[name] == "channel":
            read = loaded.get(name) or self._load_channels(t, name, placing, column)
            return f"{read}[None, :].to(tl.float32)"
        kind, pointer = self.epilogue.operands[name], self.pointer(t, name)
        if kind == "scalar":
            return f"tl.load({pointer}).to(tl.float32)"
        view = self.views.get(name)
        if view and not view.down and not view.rows:
            read = load(
                f"{pointer} + {view.across or 'n * 0'}", both(placing.columns, view.columns)
            )
            return f"{read}[None, :].to(tl.float32)"
        if view:
            return load(f"{pointer} + {view.offset}", view.mask(placing.mask)) + ".to(tl.float32)"
        return load(f"{pointer} + ({placing.offset(name)})", placing.mask) + ".to(tl.float32)"

    def _store(self, t: Text, name: str, made: str, offset: str, mask: str) -> None:
        pointer, spelled = self.pointer(t, name), memory(self.epilogue.dtype(name))
        masked = f", mask={mask}" if mask else ""
        t(f"tl.store({pointer} + ({offset}), ({made}).to({spelled}){masked})")

    def _store_moved(self, t: Text, made: Mapping[str, str], placing: Placing, prefix: str) -> None:
        """Outputs that are parts of the columns: those that lie alike in one store."""
        alike: dict[tuple[str, str, str], list[Part]] = {}
        for name, value in made.items():
            view, spelled = self.views[name], memory(self.epilogue.dtype(name))
            part = Part(self.pointer(t, name), view, value)
            alike.setdefault((view.down, view.rows, spelled), []).append(part)
        for number, ((_, _, spelled), parts) in enumerate(alike.items()):
            store_parts(t, parts, spelled, placing.mask, f"{prefix}{number}")

    def _store_part(
        self, t: Text, name: str, span: tuple[int, int], made: str, placing: Placing, column: str
    ) -> None:
        begin, end = span
        own = f"(({column} >= {begin}) & ({column} < {end}))[None, :]"
        mask = f"{placing.mask} & {own}" if placing.mask else own
        self._store(t, name, made, placing.offset(name), mask)
