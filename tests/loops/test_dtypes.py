"""Every dtype through casts, every pointwise function and every reduction, as machine code.

Tolerances are a few units in the last place of the dtype: what is computed in float32 or float64 is
rounded once on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.codegen.memory import supported
from planck.codegen.minifloat import SMALL
from planck.dtypes import DType
from planck.ir.interpret import interpret
from planck.ops.pointwise import FUNCTIONS, Cast, Pointwise
from planck.ops.reduce import KINDS, ArgReduce, Reduce
from planck.target import Target
from tests.loops.running import TARGETS, Maker, run

TYPES = tuple(filter(supported, dtypes.DTYPES))
TOLERANCE = {"f64": 1e-13, "f32": 2e-6, "f16": 1e-3, "bf16": 8e-3}
Inputs = dict[str, Any]


def draw(dtype: DType, shape: tuple[int, ...], size: float = 1.5, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed + dtype.bits)
    if dtype is dtypes.bool_:
        return rng.random(shape) < 0.5
    if dtype.is_float:
        normal = rng.standard_normal(shape) * size
        return (abs(normal) if dtype is dtypes.f8e8m0 else normal).astype(dtype.numpy)
    low, high = (0 if dtype.kind == "u" else -1) << (dtype.bits - 1), 1 << (dtype.bits - 1)
    return rng.integers(max(low, -100), min(high, 100), shape).astype(np.int64).astype(dtype.numpy)


def check(m: Maker, output: Any, target: Target) -> None:
    graph = m.graph(output)
    want = interpret(graph, m.arrays)[output.name].astype(np.float64)
    (got,) = run(graph, m.arrays, target)
    bound = TOLERANCE.get(output.type.dtype.name, 0)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=bound, atol=bound)


@pytest.mark.parametrize("old", TYPES, ids=str)
def test_casts(old: DType) -> None:
    for k, new in enumerate(TYPES):
        if new is not old:
            m = Maker(x=draw(old, (3, 21), size=30))
            check(m, m(Cast(new), m["x"]), TARGETS[-1 - k % len(TARGETS)])


DOMAIN: dict[str, Callable[[Any], Any]] = {
    "log": np.abs, "sqrt": np.abs, "rsqrt": np.abs, "acosh": lambda x: 1 + np.abs(x),
    "asin": np.tanh, "acos": np.tanh, "atanh": np.tanh, "celu": np.abs,
}  # fmt: skip
SECOND: dict[str, Callable[[Any], Any]] = {
    "shift_left": lambda x: abs(x) % 5, "shift_right": lambda x: abs(x) % 5,
    "pow": lambda x: abs(x) % 4, "div": lambda x: x + (x == 0), "mod": lambda x: x + (x == 0),
    "fmod": lambda x: x + (x == 0), "floordiv": lambda x: x + (x == 0),
}  # fmt: skip


def operands(fn: str, dtype: DType) -> Inputs:
    """Operands inside the function's domain."""
    result: Inputs = {}
    for k in range(FUNCTIONS[fn].arity):
        array = draw(dtype, (2, 19), seed=k)
        wide = array.astype(np.float64 if dtype.is_float else np.int64)
        if dtype.is_float and fn in DOMAIN:
            wide = DOMAIN[fn](wide)
        if not dtype.is_float and fn == "pow":
            wide = wide % 4
        if not dtype.is_float and k == 1 and fn in SECOND:
            wide = SECOND[fn](wide)
        result["abc"[k]] = wide.astype(dtype.numpy)
    if fn == "select":
        result["a"] = draw(dtypes.bool_, (2, 19))
    return result


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_functions(fn: str) -> None:
    kinds = [t for t in TYPES if t.kind in FUNCTIONS[fn].kinds and t not in SMALL]
    for k, dtype in enumerate(kinds):
        m = Maker(**operands(fn, dtype))
        check(m, m(Pointwise(fn), *m.inputs.values()), TARGETS[-1 - k % len(TARGETS)])


@pytest.mark.parametrize("kind", KINDS)
def test_reductions(kind: str) -> None:
    for k, dtype in enumerate(t for t in TYPES if t.kind in KINDS[kind] and t.bits >= 16):
        x = draw(dtype, (5, 37))
        if kind == "prod":
            x = (x.astype(np.float64) / 2 if dtype.is_float else x % 3 % 2 + 1).astype(dtype.numpy)
        if kind == "log_sum":
            x = np.abs(x)
        for axes in ((0,), (1,), (0, 1)):
            m = Maker(x=x)
            check(m, m(Reduce(kind, axes), m["x"]), TARGETS[-1 - k % len(TARGETS)])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_positions(kind: str, last: bool) -> None:
    for k, dtype in enumerate((dtypes.f32, dtypes.i32, dtypes.u8, dtypes.f16, dtypes.i64)):
        x = np.round(draw(dtype, (5, 77), size=1).astype(np.float64)).astype(dtype.numpy)
        if dtype.is_float:
            x[1, [7, 40]] = np.nan
            x[2] = -np.inf
        for axis in (0, 1):
            m = Maker(x=x)
            check(m, m(ArgReduce(kind, axis, last=last), m["x"]), TARGETS[-1 - k % len(TARGETS)])
