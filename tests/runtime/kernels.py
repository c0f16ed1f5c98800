"""Hand-made kernels and the plans of small networks, for the tests of the run wing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from planck import dtypes
from planck.codegen import engine
from planck.codegen.link import link
from planck.codegen.llvm import Builder, compile_object, function
from planck.ir.types import TensorType
from planck.plan.model import Place, Plan, Slot, Step
from planck.target import Target, host


def axpy(target: Target, symbol: str, tile: int, count: int) -> str:
    """y = a * x + y0 over `count` floats in tiles of `tile`; args: x, a, y0, y."""
    b = Builder()
    x, a, y0, y = (b.load("ptr", b.offset("%args", 8 * i), 8) for i in range(4))
    first = b.let(f"mul i64 %begin, {tile}")
    last = b.let(f"mul i64 %end, {tile}")
    last = b.call("i64", "llvm.smin.i64", ("i64", last), ("i64", str(count)))
    with b.loop(first, last) as i:
        at = b.let(f"shl i64 {i}, 2")
        values = [b.load("float", b.offset(p, at), 4) for p in (x, a, y0)]
        product = b.let(f"fmul float {values[0]}, {values[1]}")
        b.store("float", b.let(f"fadd float {product}, {values[2]}"), b.offset(y, at), 4)
    b.do("ret void")
    return function(target, symbol, b)


def vector(name: str, count: int, place: Place) -> Slot:
    return Slot(name, TensorType((count,), dtypes.f32), place, (1,))


def chain(
    length: int, count: int = 1000, tile: int = 64, seed: int = 0, **changes: Any
) -> tuple[Plan, Any]:
    """A network of `length` steps x -> a_i * x + b_i, and the function that it computes.

    Step i reads from what step i - 1 wrote, so any step that starts early gives a wrong result.
    """
    target = host()
    objects = {
        "loop": compile_object(target, engine.source(target), 2),
        "axpy": compile_object(target, axpy(target, "axpy", tile, count)),
    }
    image = link(objects)
    rng = np.random.default_rng(seed)
    kinds = 4  # pairs (a, b) that steps take in turn
    weights = rng.uniform(-1, 1, (kinds, 2, -(-count // 16) * 16)).astype(np.float32)
    row = weights.strides[1]
    room = -(-4 * count // 64) * 64
    slots = [vector("x", count, Place("input"))]
    steps = []
    for i in range(length):
        last = i == length - 1
        place = Place("output") if last else Place("arena", (i % 2) * room)
        slots.append(vector("y" if last else f"t{i}", count, place))
        pair = (
            Place("weights", (i % kinds) * 2 * row),
            Place("weights", (i % kinds) * 2 * row + row),
        )
        steps.append(
            Step(
                name=f"axpy{i}",
                tactic="hand",
                symbol="axpy",
                arguments=(slots[i].place, *pair, place),
                reads=(i,),
                writes=(i + 1,),
                tiles=-(-count // tile),
                flops=2 * count,
                bytes=16 * count,
                origin=(f"hand:axpy{i}",),
            )
        )
    plan = Plan(
        name="chain",
        target=target,
        precision="fp32",
        threads=2,
        inputs=(slots[0],),
        outputs=(slots[-1],),
        slots=tuple(slots),
        steps=tuple(steps),
        arena_bytes=2 * room,
        code=image.code,
        symbols=image.symbols,
        weights=weights.tobytes(),
        names={"x": "my input", "y": "my:output"},
    )

    def expected(x: Any) -> Any:
        for i in range(length):
            a, b = weights[i % kinds, :, :count]
            x = (a * x).astype(np.float32) + b
        return x

    return replace(plan, **changes), expected
