"""Einsum, written out: diagonals, sums, and one batched matrix product for each further operand."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, broadcast, reshape, total, transpose
from planck.ir.graph import Value
from planck.ops.movement import Slice
from planck.ops.nn import MatMul


@dataclass(frozen=True)
class Term:
    """An operand with a letter for each axis."""

    value: Value
    labels: str


def _einsum(ctx: NodeContext) -> Item:
    values = ctx.inputs
    inputs, output = _parse(ctx.text("equation"), [value.type.rank for value in values])
    extents: dict[str, int] = {}
    for labels, value in zip(inputs, values, strict=True):
        for label, extent in zip(labels, value.type.dims, strict=True):
            known = extents.get(label, 1)
            if extent != known and 1 not in (extent, known):
                raise ShapeError(f"Einsum: {label!r} is {known} and {extent}")
            extents[label] = max(known, extent) if extent else 0
    if any(label not in extents for label in output) or len(set(output)) != len(output):
        raise ModelFormatError(f"Einsum: output {output!r} does not follow from {inputs}")
    terms = [
        _whole(ctx, _diagonal(ctx, Term(value, labels)), extents)
        for value, labels in zip(values, inputs, strict=True)
    ]
    result = terms[0]
    for k, term in enumerate(terms[1:], 1):
        later = set(output).union(*(other.labels for other in terms[k + 1 :]))
        result = _product(ctx, result, term, later, extents)
    result = _summed(ctx, result, set(output))
    return transpose(ctx, result.value, [result.labels.index(label) for label in output])


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Labels of each input and of the output; axes under "..." get letters of their own."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    plain = set(text) - set(",->.")
    if len(inputs) != len(ranks) or not plain <= set(string.ascii_letters):
        raise ModelFormatError(f"Einsum of {len(ranks)} tensors has the equation {equation!r}")
    spare = [c for c in string.ascii_letters if c not in plain]
    depth = max(
        (rank - len(part) + 3 for part, rank in zip(inputs, ranks, strict=True) if "..." in part),
        default=0,
    )
    if not 0 <= depth <= len(spare):
        raise ModelFormatError(f"Einsum: {equation!r} does not fit tensors of ranks {list(ranks)}")
    dots = "".join(spare[:depth])
    written = []
    for part, rank in zip(inputs, ranks, strict=True):
        own = rank - len(part) + 3
        labels = part.replace("...", dots[depth - own :]) if "..." in part else part
        if len(labels) != rank or "." in labels:
            raise ModelFormatError(f"Einsum: {part!r} does not fit a tensor of rank {rank}")
        written.append(labels)
    if arrow:
        return written, right.replace("...", dots)
    letters = sorted(c for c in plain if left.count(c) == 1)
    return written, dots + "".join(letters)


def _diagonal(ctx: NodeContext, term: Term) -> Term:
    """Repeated letters taken once: the diagonal of their axes."""
    while len(set(term.labels)) < len(term.labels):
        label = next(c for c in term.labels if term.labels.count(c) > 1)
        first = term.labels.index(label)
        second = term.labels.index(label, first + 1)
        rest = [axis for axis in range(len(term.labels)) if axis not in (first, second)]
        value = transpose(ctx, term.value, [*rest, first, second])
        *lead, rows, columns = value.type.dims
        if rows != columns:
            raise ShapeError(f"Einsum: {label!r} is {rows} and {columns} in one tensor")
        flat = reshape(ctx, value, (*lead, rows * columns))
        op = Slice((0,) * (len(lead) + 1), (*lead, rows), (*[1] * len(lead), rows + 1))
        term = Term(ctx.emit(op, flat), "".join(term.labels[axis] for axis in rest) + label)
    return term


def _whole(ctx: NodeContext, term: Term, extents: dict[str, int]) -> Term:
    """Axes of extent 1 that broadcast, at their full extent."""
    shape = tuple(extents[label] for label in term.labels)
    return Term(broadcast(ctx, term.value, shape), term.labels)


def _summed(ctx: NodeContext, term: Term, needed: set[str]) -> Term:
    """The term without the axes that nobody needs."""
    axes = [axis for axis, label in enumerate(term.labels) if label not in needed]
    if not axes:
        return term
    kept = "".join(label for label in term.labels if label in needed)
    return Term(total(ctx, "sum", term.value, axes, keep=False), kept)


def _product(ctx: NodeContext, a: Term, b: Term, later: set[str], extents: dict[str, int]) -> Term:
    """Two terms multiplied, summed over what they share and nobody needs later."""
    a = _summed(ctx, a, later | set(b.labels))
    b = _summed(ctx, b, later | set(a.labels))
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in later]
    inner = [label for label in shared if label not in later]
    rows = [label for label in a.labels if label not in shared]
    columns = [label for label in b.labels if label not in shared]
    labels = "".join((*batch, *rows, *columns))

    def matrix(term: Term, order: Sequence[Sequence[str]]) -> Value:
        perm = [term.labels.index(label) for group in order for label in group]
        shape = [math.prod(extents[label] for label in group) for group in order]
        return reshape(ctx, transpose(ctx, term.value, perm), shape)

    left, right = matrix(a, (batch, rows, inner)), matrix(b, (batch, inner, columns))
    y = ctx.emit(MatMul(), left, right) if inner else apply(ctx, "mul", left, right)
    return Term(reshape(ctx, y, [extents[label] for label in labels]), labels)


TABLE: Final[Table] = {("", "Einsum"): _einsum}
