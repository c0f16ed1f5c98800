"""Loop nests -> Triton: a block takes a tile of rows and columns of the nest's steps.

    way       outer          rows                    columns
    flat      -              -                       all loops
    across    the rest       along which some input  the innermost loop of the outputs
                             is contiguous
    rows      -              what reductions         what they do not depend on: each block goes
                             depend on               through all columns, and what is reduced

Reductions of rows run along the tile's columns; they share what they read, so that a softmax whose
row fits into one tile reads and exponentiates it once. Other reductions are loops of every element.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from planck.codegen.triton.scalar import Functions, literal, register
from planck.codegen.triton.tiles import Loop, Tiling, blocks, groups, reductions, size
from planck.codegen.triton.values import Scope, Values
from planck.dtypes import DType, bool_, i64
from planck.loops.lower import Buffer, Nest
from planck.loops.terms import Term, walk
from planck.plan.model import COUNTERS, WORKSPACE

_UNROLLED: Final = 16  # steps of a loop that are written out
_COMBINE: Final = {
    "sum": "_sum", "prod": "_product", "max": "_most", "min": "_least", "any": "_most",
    "all": "_least", "argmax": "_first_most", "argmin": "_first_least",
    "argmax_last": "_last_most", "argmin_last": "_last_least",
}  # fmt: skip


def write(
    symbol: str,
    nests: Sequence[Nest],
    parameters: Sequence[str],
    buffers: Mapping[str, Buffer],
    tilings: Sequence[Tiling],
    dependent: bool = True,
) -> tuple[str, int]:
    """The body of a module without its header, and how many blocks there are.

    parameters:  names of pointers
    dependent:   whether the GPU knows programmatic dependent launches
    """
    functions = Functions()
    lines = ["block = tl.program_id(0)"]
    wide = _is_wide(nests, buffers)
    if wide:
        lines.append("block = block.to(tl.int64)")
    if dependent:
        lines.append("gdc_wait()")
    else:
        tilings = [replace(tiling, trigger=0) for tiling in tilings]
    if tilings[0].trigger == 2:
        lines.append("gdc_launch_dependents()")
    first = 0
    for nest, tiling in zip(nests, tilings, strict=True):
        count = blocks(nest, tiling)
        writer = _Writer(nest, tiling, functions, wide)
        body = writer.run("block" if not first else f"(block - {first})")
        if len(nests) > 1:
            lines.append(f"if (block >= {first}) & (block < {first + count}):")
            body = [f"    {line}" for line in body]
        lines += body
        first += count
    text = "".join(f"    {line}\n" for line in lines)
    head = f"@triton.jit\ndef {symbol}({', '.join(parameters)}):\n"
    return f"{functions.text}\n\n{head}{text}", first


def _is_wide(nests: Sequence[Nest], buffers: Mapping[str, Buffer]) -> bool:
    """Whether 32 bits do not hold every position."""
    ends = [sum((n - 1) * s for n, s in zip(b.physical, b.strides, strict=True))
            for b in buffers.values()]  # fmt: skip
    return max([*ends, *(size(nest.loops) for nest in nests)], default=0) >= 1 << 30


class _Writer(Values):
    """Writes one nest: its tiles, and its reductions along their columns or in loops."""

    def __init__(self, nest: Nest, tiling: Tiling, functions: Functions, wide: bool) -> None:
        super().__init__(nest, tiling, functions, wide)
        self.groups = groups(nest, tiling.way)
        self.chunked = False

    def run(self, block: str) -> list[str]:
        tiling, found = self.tiling, self.groups
        count = size(found.columns)
        if tiling.parts > 1:
            return self._shared(block)
        if tiling.way != "rows":
            tiles = -(-count // tiling.columns)
            own = f"{block} % {tiles}" if found.rows else block
            begin = self.let(f"{own} * {tiling.columns}" if tiles > 1 else "0")
            block = self.let(f"{block} // {tiles}" if tiles > 1 else block)
        tiles = -(-size(found.rows) // tiling.rows)
        if found.outer:
            outer = self.let(f"{block} // {tiles} + {literal(0, self.integer)}")
            self._bind(found.outer, outer, "")
            block = self.let(f"{block} % {tiles}")
        if found.rows:
            self._rows(block)
        if tiling.way != "rows":
            self._columns(found.columns, begin)
            self._store()
            return self.lines
        self._hoist([t for s in self.nest.stores for t in (s.value, s.offset)], found.columns)
        with self._through(found.columns):
            self._store()
        return self.lines

    def _shared(self, block: str) -> list[str]:
        """Several blocks reduce a part each; the last one adds their results and goes on."""
        tiling, parts, height = self.tiling, self.tiling.parts, self.tiling.rows
        (term,) = reductions(self.nest)
        (kind, over), function = term.what, self.functions.need(_COMBINE[term.what[0]])
        part = self.let(f"{block} % {parts}")
        block = self.let(f"{block} // {parts}")
        inner = self.let(f"tl.arange(0, {height})[:, None]")
        self._rows(block)
        loops = self._canonical(over)
        value = self._renamed(term.args[0], over, loops)
        (total,) = self._start(kind, value.dtype, self._shape("rc"))
        self._hoist([value], loops)
        length = -(-size(loops) // (tiling.columns * parts)) * tiling.columns
        with self.loop(f"for at in range(0, {length}, {tiling.columns}):"):
            self._columns(loops, self.let(f"{part} * {length} + at"), length * parts)
            neutral = _neutral(kind, value.dtype)
            text = f"tl.broadcast_to({self._wide(kind, value)}, {self._shape('rc')})"
            if self.masks["c"]:
                text = f"tl.where({self.masks['c']}, {text}, {neutral})"
            self.do(f"{total} = {function}({total}, {text})")
        own = self.let(f"tl.reduce({total}, 1, {function}, keep_dims=True)")
        place = self.let(f"{WORKSPACE} + {block} * {parts * height} + {inner}")
        self.do(f"tl.store({place} + {part} * {height}, {own})")
        self.do("tl.debug_barrier()")
        done = self.let(f'tl.atomic_add({COUNTERS} + {block}, 1, sem="acq_rel", scope="gpu")')
        with self.loop(f"if {done} == {parts - 1}:") as scope:
            self.do("tl.debug_barrier()")
            all_ = self.let(f"tl.arange(0, {parts})[None, :] * {height}")
            read = self.let(f'tl.load({place} + {all_}, cache_modifier=".cg")')
            made = self.let(f"tl.reduce({read}, 1, {function}, keep_dims=True)")
            scope.known[term] = self.let(f"{made} != 0") if kind in ("any", "all") else made
            self._store()
            self.do(f"tl.store({COUNTERS} + {block}, 0)")
        return self.lines

    def _rows(self, block: str) -> None:
        """Bind the rows of a tile."""
        height, count = self.tiling.rows, size(self.groups.rows)
        rows = self.let(f"{block} * {height} + {self._range(height)}[:, None]", "r")
        self._bind(self.groups.rows, rows, "r")
        if count % height:
            self.masks["r"] = self.let(f"{rows} < {count}", "m")

    def _columns(self, loops: tuple[Loop, ...], begin: str, end: int = 0) -> None:
        """Bind the columns of one tile. Tiles go up to `end`, if that is beyond all columns."""
        width, count = self.tiling.columns, size(loops)
        position = self.let(f"{begin} + {self._range(width)}[None, :]", "c")
        within = max(end, -(-count // width) * width) == count
        mask = "" if within else self.let(f"{position} < {count}", "m")
        self._bind(loops, position, "c")
        self.scopes[-1].columns[loops] = (position, mask)
        self.masks["c"] = mask

    def _range(self, count: int) -> str:
        """Positions from zero on."""
        return f"tl.arange(0, {count})" + (".to(tl.int64)" if self.integer is i64 else "")

    @contextmanager
    def _through(self, loops: tuple[Loop, ...]) -> Iterator[tuple[str, str]]:
        """All columns of a group of loops, tile by tile; gives the position and the mask."""
        before = self.masks["c"]
        if size(loops) <= self.tiling.columns:
            known = [s.columns[loops] for s in self.scopes if loops in s.columns]
            if known:
                self.masks["c"] = known[0][1]
            else:
                self._columns(loops, "0")
            yield next(s.columns[loops] for s in self.scopes if loops in s.columns)
        else:
            at = f"k{len(self.lines)}"
            with self.loop(f"for {at} in range(0, {size(loops)}, {self.tiling.columns}):") as scope:
                self.chunked = True
                self._columns(loops, at)
                yield scope.columns[loops]
                self.chunked = False
        self.masks["c"] = before

    def _hoist(self, roots: Sequence[Term], loops: Sequence[Loop]) -> None:
        """Write what stays the same in loops that are about to open."""
        inside = {name for name, _ in loops}
        bound = {name for scope in self.scopes for name in scope.variables}
        seen: set[Term] = set()
        stack = list(reversed(roots))
        while stack:
            term = stack.pop()
            if term in seen:
                continue
            seen.add(term)
            if term.kind in ("load", "apply", "cast", "select", "reduce") and (
                term.free <= bound and inside.isdisjoint(term.free)
            ):
                self.value(term)
            else:
                stack.extend(reversed(term.args))

    def _store(self) -> None:
        values = [self.value(s.value) for s in self.nest.stores]
        if self.tiling.trigger == 3 and not self.chunked:
            self.do("gdc_launch_dependents()")
        for store, value in zip(self.nest.stores, values, strict=True):
            if store.value.kind == "const":
                value = literal(store.value.what, store.dtype)
            mask = self._mask(store.offset)
            if self.nest.partial and self.nest.guard is not None:
                mask = " & ".join(part for part in (mask, self.value(self.nest.guard)) if part)
            tail = f", mask={mask}" if mask else ""
            place = f"{store.operand} + {self._block(store.offset)}"
            self.do(f"tl.store({place}, {self.functions.narrowed(value, store.dtype)}{tail})")

    # Reductions

    def _reduce(self, term: Term) -> str:
        parallel = self.tiling.way == "rows" and not self.chunked
        kind = term.what[0]
        made = self._along(term) if parallel and "c" not in self.axes(term) else self._each(term)
        if kind.startswith("arg"):
            return self.let(f"{made}.to(tl.int64)")
        return self.let(f"{made} != 0") if kind in ("any", "all") else made

    def _along(self, term: Term) -> str:
        """A reduction along the columns of tiles."""
        (kind, over), function = term.what, self.functions.need(_COMBINE[term.what[0]])
        loops = self._canonical(over)
        value = self._renamed(term.args[0], over, loops)
        one = size(loops) <= self.tiling.columns
        shape = self._shape("rc" if "r" in self.axes(term) else "c")
        sums = [] if one else self._start(kind, value.dtype, shape)
        self._hoist([value], loops)
        with self._through(loops) as (position, mask):
            parts = [self._wide(kind, value)]
            neutral = _neutral(kind, value.dtype)
            if kind.startswith("arg"):
                parts.append(position)
            for k, part in enumerate(parts):
                text = f"tl.broadcast_to({part}, {shape})"
                other = _beyond(kind) if k else neutral
                parts[k] = self.let(f"tl.where({mask}, {text}, {other})" if mask else text)
            if not one:
                self.do(f"{', '.join(sums)} = {function}({', '.join((*sums, *parts))})")
        left = parts if one else sums
        if len(left) == 1:
            return self.let(f"tl.reduce({left[0]}, 1, {function}, keep_dims=True)")
        best, place = self.let("0"), self.let("0")
        self.lines[-2:] = []
        self.do(f"{best}, {place} = tl.reduce(({', '.join(left)}), 1, {function}, keep_dims=True)")
        return place

    def _canonical(self, over: tuple[Loop, ...]) -> tuple[Loop, ...]:
        """The loops by which a reduction goes: the nest's columns if they are alike, so that
        both share what they compute; else some that depend on the extents alone."""
        columns, extents = self.groups.columns, [n for _, n in over]
        if [n for _, n in columns] == extents:
            return columns
        return tuple((f"c{k}.{n}", n) for k, n in enumerate(extents))

    def _renamed(self, value: Term, over: Sequence[Loop], loops: Sequence[Loop]) -> Term:
        names = {
            old: self.pool.index(new, n) for (old, n), (new, _) in zip(over, loops, strict=True)
        }
        memo = {t: t for t in walk((value,)) if t.kind == "reduce" and t.free.isdisjoint(names)}
        renamed = self.pool.replace(value, names, memo)
        if renamed is not value:
            self.guards.add([renamed])
        return renamed

    def _each(self, term: Term) -> str:
        """A reduction as loops of every element of the tile."""
        kind, over = term.what
        function = self.functions.need(_COMBINE[kind])
        value = term.args[0]
        sums = self._start(kind, value.dtype, self._shape(self.axes(term)))
        self._hoist([value], over)
        unrolled = size(over) <= _UNROLLED
        depth, position = len(self.scopes), ""
        for name, extent in over:
            at = f"j{len(self.lines)}"
            turns = f"tl.range({extent}, loop_unroll_factor={min(extent, 4)})"
            self.do(f"for {at} in {f'tl.static_range({extent})' if unrolled else turns}:")
            self.depth += 1
            self.scopes.append(Scope())
            step = self.let(f"{at} + {literal(0, self.integer)}", "i")
            self.scopes[-1].variables[name] = (step, "")
            position = self.let(f"{position} * {extent} + {step}") if position else step
        parts = [self._wide(kind, value), position][: len(sums)]
        self.do(f"{', '.join(sums)} = {function}({', '.join((*sums, *parts))})")
        self.depth -= len(self.scopes) - depth
        del self.scopes[depth:]
        return sums[-1]

    def _wide(self, kind: str, value: Term) -> str:
        text = self._typed(value)
        return self.let(f"{text}.to(tl.int32)" if value.dtype is bool_ else text)

    def _start(self, kind: str, dtype: DType, shape: str) -> list[str]:
        name = "tl.int32" if dtype is bool_ else register(dtype)
        sums = [self.let(f"tl.full({shape}, {_neutral(kind, dtype)}, {name})", "s")]
        if kind.startswith("arg"):
            sums.append(
                self.let(f"tl.full({shape}, {_beyond(kind)}, {register(self.integer)})", "s")
            )
        return sums


def _beyond(kind: str) -> int:
    """A position that loses against all others."""
    return -1 if kind.endswith("last") else (1 << 31) - 1


def _neutral(kind: str, dtype: DType) -> str:
    """What changes no result."""
    if kind in ("sum", "any"):
        return "0.0" if dtype.is_float else "0"
    if kind in ("prod", "all"):
        return "1.0" if dtype.is_float else "1"
    low = "max" in kind
    if dtype.is_float:
        return 'float("-inf")' if low else 'float("inf")'
    if dtype is bool_:
        return "0" if low else "1"
    bits = dtype.bits - (dtype.kind == "i")
    if low:
        return str(-(1 << bits)) if dtype.kind == "i" else "0"
    return str((1 << bits) - 1)
