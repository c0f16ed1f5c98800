"""RNN, GRU and LSTM, unrolled: one product with the inputs of all steps, then step after step.

Every step has the same shapes, so that all of them share their kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from planck.dtypes import i64
from planck.errors import ModelFormatError, ShapeError
from planck.frontends.onnx.builder import Item
from planck.frontends.onnx.context import NodeContext, Table
from planck.frontends.onnx.emit import apply, broadcast, cast, concat, part, reshape, transpose
from planck.ir.graph import Value
from planck.ops.nn import MatMul

MOST_STEPS: Final = 4096  # more would make a graph that nobody wants to compile
GATES: Final = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULT: Final = {
    "RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}  # fmt: skip

# Activations by ONNX's lower-case names: the pointwise function, and its default parameters.
ACTIVATIONS: Final[dict[str, tuple[str, tuple[float, ...]]]] = {
    "affine": ("affine", (1.0, 0.0)),
    "elu": ("elu", (1.0,)),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "relu": ("relu", ()),
    "scaledtanh": ("scaled_tanh", (1.0, 1.0)),
    "sigmoid": ("sigmoid", ()),
    "softplus": ("softplus", ()),
    "softsign": ("softsign", ()),
    "tanh": ("tanh", ()),
    "thresholdedrelu": ("thresholded_relu", (1.0,)),
}

Activation = Callable[[Value], Value]
State = tuple[Value, ...]  # hidden, and LSTM's cell


@dataclass(frozen=True)
class Direction:
    """The weights of one direction: w[G*H, I], r[G*H, H], biases [G*H], peepholes [H]."""

    w: Value
    r: Value
    input_bias: Value | None
    hidden_bias: Value | None
    peepholes: tuple[Value, ...]
    activations: tuple[Activation, ...]
    hidden: int


def _recurrent(ctx: NodeContext) -> tuple[Item | None, ...]:
    x, swapped = ctx.input(0), ctx.integer("layout", 0)
    hidden, gates = ctx.integer("hidden_size"), GATES[ctx.type]
    if x.type.rank != 3:
        raise ShapeError(f"{ctx.type} takes X[time, batch, input], was given {x.type}")
    if swapped:
        x = transpose(ctx, x, (1, 0, 2))
    time, batch, _ = x.type.dims
    if not 0 < time <= MOST_STEPS:
        ctx.refuse(f"{time} time steps; it is unrolled, 1 to {MOST_STEPS} can be")
    mode = ctx.text("direction", "forward")
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}.get(mode)
    if ways is None:
        raise ModelFormatError(f"{ctx.type} has direction {mode!r}")
    w, r = ctx.input(1).type.dims, ctx.input(2).type.dims
    if w[:2] != (len(ways), gates * hidden) or r != (len(ways), gates * hidden, hidden):
        raise ShapeError(f"{ctx.type} of hidden size {hidden} has W {list(w)} and R {list(r)}")
    activations = _activations(ctx, len(ways))
    outputs, finals = [], []
    for k, reverse in enumerate(ways):
        steps, state = _run(
            ctx,
            x,
            _direction(ctx, k, hidden, activations[k]),
            _initial(ctx, k, batch, hidden),
            reverse,
        )
        outputs.append(concat(ctx, steps, 0))  # [T, 1, B, H]
        finals.append(state)
    y = concat(ctx, outputs, 1)
    results = [y] + [
        concat(ctx, [reshape(ctx, s[n], (1, batch, hidden)) for s in finals], 0)
        for n in range(len(finals[0]))
    ]
    if swapped:
        results = [transpose(ctx, y, (2, 0, 1, 3))] + [
            transpose(ctx, value, (1, 0, 2)) for value in results[1:]
        ]
    return tuple(results)


def _direction(
    ctx: NodeContext, k: int, hidden: int, activations: tuple[Activation, ...]
) -> Direction:
    wide = GATES[ctx.type] * hidden

    def row(i: int, width: int) -> Value | None:
        value = ctx.optional(i)
        if value is None:
            return None
        if value.type.rank != 2 or value.type.dims[0] <= k or value.type.dims[1] != width:
            raise ShapeError(f"{ctx.type} has input {i} {value.type}, must be [D, {width}]")
        return reshape(ctx, part(ctx, value, 0, k, 1), (width,))

    biases, peepholes = row(3, 2 * wide), row(7, 3 * hidden) if ctx.type == "LSTM" else None
    w, r = (
        reshape(ctx, part(ctx, value, 0, k, 1), value.type.dims[1:])
        for value in (ctx.input(1), ctx.input(2))
    )
    return Direction(
        w,
        r,
        part(ctx, biases, 0, 0, wide) if biases else None,
        part(ctx, biases, 0, wide, wide) if biases else None,
        tuple(part(ctx, peepholes, 0, n * hidden, hidden) for n in range(3)) if peepholes else (),
        activations,
        hidden,
    )


def _initial(ctx: NodeContext, k: int, batch: int, hidden: int) -> State:
    """The state before the first step: given, or zeros."""
    found = []
    for i in (5, 6) if ctx.type == "LSTM" else (5,):
        given = ctx.optional(i)
        if given is None:
            zeros = np.zeros((batch, hidden), ctx.input(0).type.dtype.numpy)
            found.append(ctx.const(zeros))
            continue
        if ctx.integer("layout", 0):
            given = transpose(ctx, given, (1, 0, 2))
        found.append(reshape(ctx, part(ctx, given, 0, k, 1), (batch, hidden)))
    return tuple(found)


def _run(
    ctx: NodeContext, x: Value, way: Direction, state: State, reverse: bool
) -> tuple[list[Value], State]:
    """The outputs [1, 1, B, H] in order of time, and the state after the last step."""
    time, batch, width = x.type.dims
    step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[ctx.type]
    flat = reshape(ctx, x, (time * batch, width))
    projected = ctx.emit(MatMul(False, True), flat, way.w)
    bias = way.input_bias
    if bias and way.hidden_bias and ctx.type != "GRU":
        bias = apply(ctx, "add", bias, way.hidden_bias)
    if bias:
        projected = apply(ctx, "add", projected, bias)
    lengths = ctx.optional(4)
    steps: dict[int, Value] = {}
    for t in reversed(range(time)) if reverse else range(time):
        new = step(ctx, part(ctx, projected, 0, t * batch, batch), state, way)
        out = new[0]
        if lengths is not None:
            alive = _alive(ctx, lengths, t, new[0])
            new = tuple(
                apply(ctx, "select", alive, own, old) for own, old in zip(new, state, strict=True)
            )
            out = apply(ctx, "select", alive, out, ctx.like(0, out))
        state = new
        steps[t] = reshape(ctx, out, (1, 1, batch, way.hidden))
    return [steps[t] for t in range(time)], state


def _alive(ctx: NodeContext, lengths: Value, t: int, like: Value) -> Value:
    """bool[B, H]: whether a batch's sequence reaches step t."""
    batch, hidden = like.type.dims
    column = reshape(ctx, cast(ctx, lengths, i64), (batch, 1))
    return broadcast(ctx, apply(ctx, "greater", column, t), (batch, hidden))


def _gate(ctx: NodeContext, value: Value, k: int, hidden: int) -> Value:
    return part(ctx, value, 1, k * hidden, hidden)


def _rnn_step(ctx: NodeContext, x: Value, state: State, way: Direction) -> State:
    total = apply(ctx, "add", x, ctx.emit(MatMul(False, True), state[0], way.r))
    return (way.activations[0](_clip(ctx, total)),)


def _gru_step(ctx: NodeContext, x: Value, state: State, way: Direction) -> State:
    """Gates in ONNX's order: update z, reset r, hidden h."""
    (h,) = state
    n, (f, g) = way.hidden, way.activations
    after = bool(ctx.integer("linear_before_reset", 0))
    if after:
        past = ctx.emit(MatMul(False, True), h, way.r)
        if way.hidden_bias:
            past = apply(ctx, "add", past, way.hidden_bias)
        gates = [apply(ctx, "add", _gate(ctx, x, k, n), _gate(ctx, past, k, n)) for k in range(2)]
    else:
        past = ctx.emit(MatMul(False, True), h, part(ctx, way.r, 0, 0, 2 * n))
        if way.hidden_bias:
            past = apply(ctx, "add", past, part(ctx, way.hidden_bias, 0, 0, 2 * n))
        gates = [apply(ctx, "add", _gate(ctx, x, k, n), _gate(ctx, past, k, n)) for k in range(2)]
    z, r = (f(_clip(ctx, gate)) for gate in gates)
    if after:
        own = apply(ctx, "mul", r, _gate(ctx, past, 2, n))
    else:
        own = apply(ctx, "mul", r, h)
        own = ctx.emit(MatMul(False, True), own, part(ctx, way.r, 0, 2 * n, n))
        if way.hidden_bias:
            own = apply(ctx, "add", own, part(ctx, way.hidden_bias, 0, 2 * n, n))
    new = g(_clip(ctx, apply(ctx, "add", _gate(ctx, x, 2, n), own)))
    kept = apply(ctx, "mul", z, apply(ctx, "sub", h, new))  # (1 - z) new + z h
    return (apply(ctx, "add", new, kept),)


def _lstm_step(ctx: NodeContext, x: Value, state: State, way: Direction) -> State:
    """Gates in ONNX's order: input i, output o, forget f, cell c; peepholes i, o, f."""
    h, c = state
    f, g, last = way.activations
    total = apply(ctx, "add", x, ctx.emit(MatMul(False, True), h, way.r))
    i, o, forget, cell = (_gate(ctx, total, k, way.hidden) for k in range(4))

    def peep(gate: Value, k: int, seen: Value) -> Value:
        if not way.peepholes:
            return gate
        return apply(ctx, "add", gate, apply(ctx, "mul", seen, way.peepholes[k]))

    i = f(_clip(ctx, peep(i, 0, c)))
    if ctx.integer("input_forget", 0):
        forget = apply(ctx, "sub", ctx.like(1, i), i)
    else:
        forget = f(_clip(ctx, peep(forget, 2, c)))
    fresh = apply(ctx, "mul", i, g(_clip(ctx, cell)))
    c = apply(ctx, "add", apply(ctx, "mul", forget, c), fresh)
    o = f(_clip(ctx, peep(o, 1, c)))
    return apply(ctx, "mul", o, last(c)), c


def _clip(ctx: NodeContext, value: Value) -> Value:
    if not ctx.has("clip"):
        return value
    bound = ctx.number("clip")
    return apply(ctx, "max", apply(ctx, "min", value, bound), -bound)


def _activations(ctx: NodeContext, ways: int) -> list[tuple[Activation, ...]]:
    """The activations of each direction; their parameters are taken from two running lists."""
    each = len(DEFAULT[ctx.type])
    names = ctx.attribute("activations", DEFAULT[ctx.type] * ways)
    if len(names) != each * ways:
        raise ModelFormatError(f"{ctx.type} has {len(names)} activations for {ways} directions")
    given = [list(ctx.attribute(f"activation_{which}", ())) for which in ("alpha", "beta")]
    made: list[Activation] = []
    for name in names:
        if str(name).lower() not in ACTIVATIONS:
            ctx.refuse(f"activation {name!r} is not known")
        fn, defaults = ACTIVATIONS[str(name).lower()]
        numbers = [given[k].pop(0) if given[k] else default for k, default in enumerate(defaults)]
        made.append(partial(_activate, ctx, fn, numbers))
    return [tuple(made[k * each : (k + 1) * each]) for k in range(ways)]


def _activate(ctx: NodeContext, fn: str, numbers: Sequence[float], x: Value) -> Value:
    if fn == "affine":
        return apply(ctx, "add", apply(ctx, "mul", x, numbers[0]), numbers[1])
    if fn == "scaled_tanh":
        return apply(ctx, "mul", apply(ctx, "tanh", apply(ctx, "mul", x, numbers[1])), numbers[0])
    return apply(ctx, fn, x, *numbers)


TABLE: Final[Table] = {("", kind): _recurrent for kind in GATES}
