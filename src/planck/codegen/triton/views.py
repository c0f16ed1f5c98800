"""Where a tile's elements lie in tensors of other shapes: sums of its rows `m` and columns `n`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planck.codegen.triton.text import Text, both, total
from planck.dtypes import Array
from planck.loops.terms import Term, split
from planck.refusal import No


@dataclass(frozen=True, slots=True)
class View:
    """How far elements lie from an operand's first, and which of the tile's it has; as text.

    down, across:   what rows and columns add to the offset; "" for nothing
    rows, columns:  which of them there are; "" where all
    """

    down: str
    across: str
    rows: str
    columns: str

    @property
    def offset(self) -> str:
        return f"({self.down or 'm * 0'})[:, None] + ({self.across or 'n * 0'})[None, :]"

    def mask(self, tile: str) -> str:
        """Of the tile's elements, which `tile` says there are."""
        return both(tile, _down(self.rows), _across(self.columns))


@dataclass(frozen=True, slots=True)
class Part:
    """Columns of a tile: where they go, and the variable that holds them."""

    pointer: str
    view: View
    value: str


def store_parts(t: Text, parts: Sequence[Part], spelled: str, tile: str, prefix: str) -> None:
    """Store parts of a tile's columns, none of which overlap, at once.

    spelled:  what all are in memory; their rows lie alike
    tile:     which elements of the tile there are
    """
    first, *others = parts
    if not others:
        _store(t, f"{first.pointer} + {first.view.offset}", first.value, spelled,
               first.view.mask(tile))  # fmt: skip
        return
    to, made, own, any_ = (f"{prefix}_{word}" for word in ("to", "made", "own", "any"))
    t(f"{any_} = {first.view.columns}", f"{to} = {first.pointer} + ({first.view.across})")
    t(f"{made} = {first.value}")
    for part in others:
        t(f"{own} = {part.view.columns}", f"{any_} = {any_} | {own}")
        t(f"{to} = tl.where({own}, {part.pointer} + ({part.view.across}), {to})")
        t(f"{made} = tl.where({own}[None, :], {part.value}, {made})")
    t(f"{to} = {side_by_side(to)}")
    place = f"{to}[None, :] + ({first.view.down or 'm * 0'})[:, None]"
    _store(t, place, made, spelled, both(tile, _down(first.view.rows), _across(any_)))


def side_by_side(places: str) -> str:
    """Tells the compiler that threads should lie along the columns, without wider accesses.

    It takes an order from what is contiguous, which quotients and remainders do not say; else
    threads lie along the rows, and a store takes four times as long. What is said to be contiguous
    is not used to store several at once, as no multiple is known of it.
    """
    return f"tl.max_contiguous(tl.multiple_of({places}, 1), 2)"


def _store(t: Text, place: str, made: str, spelled: str, mask: str) -> None:
    t(f"tl.store({place}, ({made}).to({spelled})" + (f", mask={mask})" if mask else ")"))


def _down(rows: str) -> str:
    return f"({rows})[:, None]" if rows else ""


def _across(columns: str) -> str:
    return f"({columns})[None, :]" if columns else ""


def view(offset: Term, inside: Sequence[tuple[Term, int]]) -> View | No:
    """The view of an offset over the variables "m" and "n".

    inside:  terms, each of which is less than a number, and not below zero, where there is anything
    """
    parts, constant = split(offset)
    sums: dict[str, list[str]] = {"m": [], "n": [str(constant)] if constant else []}
    masks: dict[str, list[str]] = {"m": [], "n": []}
    for term, factor in parts.items():
        if len(term.free) != 1:
            return No("rows and columns of the product are mixed up in one address")
        own = spelled(term)
        sums[min(term.free)].append(own if factor == 1 else f"{own} * {factor}")
    for term, end in inside:
        if len(term.free) > 1:
            return No("rows and columns of the product are mixed up in what is cut")
        own, side = spelled(term), min(term.free, default="n")
        if term.low is None or term.low < 0:
            masks[side].append(f"{own} >= 0")
        if term.high is None or term.high >= end:
            masks[side].append(f"{own} < {end}")
    return View(
        total(*sums["m"]) if sums["m"] else "", total(*sums["n"]) if sums["n"] else "",
        both(*masks["m"]) if masks["m"] else "", both(*masks["n"]) if masks["n"] else "",
    )  # fmt: skip


def spelled(term: Term) -> str:
    """Index arithmetic as Triton writes it; quotients are of what is not negative."""
    if term.kind in ("const", "index"):
        return str(term.what)
    if term.kind == "affine":
        factors, constant = term.what
        parts = [f"{spelled(a)} * {f}" for f, a in zip(factors, term.args, strict=True)]
        return f"({' + '.join([*parts, str(constant)])})"
    value, by = map(spelled, term.args)
    return f"({value} {'//' if term.what == 'floordiv' else '%'} {by})"


def columns_of(inside: Sequence[tuple[Term, int]], count: int) -> Array:
    """Which of so many columns there are in all that is cut from them."""
    there = np.ones(count, bool)
    for term, end in inside:
        if term.free == {"n"}:
            value = _numbers(term, count)
            there &= (value >= 0) & (value < end)
    return there


def _numbers(term: Term, count: int) -> Array:
    """An index over the columns, for each of them."""
    if term.kind == "const":
        return np.full(count, term.what)
    if term.kind == "index":
        return np.arange(count)
    args = [_numbers(arg, count) for arg in term.args]
    if term.kind == "affine":
        factors, constant = term.what
        return np.asarray(sum(f * a for f, a in zip(factors, args, strict=True)) + constant)
    value, by = args
    return value // by if term.what == "floordiv" else value % by
