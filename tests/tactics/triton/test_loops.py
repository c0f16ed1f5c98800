"""Operators with bodies as GPU kernels, in Triton's interpreter, against their references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from planck import dtypes
from planck.codegen.minifloat import SMALL
from planck.codegen.triton import loops
from planck.codegen.triton.compile import compile_cubin
from planck.codegen.triton.scalar import supported
from planck.dtypes import Array, DType
from planck.ir.graph import Graph, Value
from planck.ir.interpret import interpret
from planck.ops import movement, nn
from planck.ops.float64 import interpret_float64
from planck.ops.pointwise import FUNCTIONS, Cast, Pointwise
from planck.ops.reduce import KINDS, ArgReduce, Reduce
from planck.refusal import No
from planck.tactics.kernel import Kernel
from planck.tactics.triton.loops import Loops
from tests.codegen.test_minifloat import codes, samples
from tests.loops.running import Maker, kernel, reblock
from tests.loops.test_dtypes import TOLERANCE, draw, operands
from tests.loops.test_operators import CASES
from tests.tactics.triton.conftest import H100
from tests.tactics.triton.interpreting import run_triton

TYPES = tuple(d for d in dtypes.DTYPES if supported(d))


def offered(graph: Graph, gaps: Mapping[str, int] | None = None) -> tuple[Kernel, list[Any]]:
    work = kernel(graph, H100, gaps=gaps)
    offers = Loops().offers(work)
    assert not isinstance(offers, No), offers.reason
    return work, list(offers)


def check(graph: Graph, arrays: Mapping[str, Array], want: Mapping[str, Array], most: int = 1,
          gaps: Mapping[str, int] | None = None, **bound: float) -> None:  # fmt: skip
    """The first offers give what is wanted."""
    work, offers = offered(graph, gaps)
    for config in offers[:most]:
        found = run_triton(work, Loops(), config, arrays)
        for name, array in found.items():
            true = want[name]
            assert array.dtype == work.operands[name].type.dtype.numpy
            if true.dtype.kind != "b":
                array, true = array.astype(np.float64), true.astype(np.float64)
            np.testing.assert_allclose(array, true, err_msg=str(config), **bound)


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    m, output = CASES[name]()
    graph = m.graph(output)
    most = 1 if "conv" in name else 2
    check(graph, m.arrays, interpret(graph, m.arrays), most, rtol=2e-5, atol=3e-6)


@pytest.mark.parametrize("name", ["batch", "instance", "max pool", "linear", "crop", "group"])
@pytest.mark.parametrize("side", ["in", "out"])
def test_operators_on_blocks(name: str, side: str) -> None:
    m, output = CASES[name]()
    graph = m.graph(output)
    want = interpret(graph, m.arrays)
    blocks = {"x0" if side == "in" else output.name: 8}
    check(reblock(graph, blocks), m.arrays, want, rtol=2e-5, atol=3e-6)


@pytest.mark.parametrize("fn", FUNCTIONS)
def test_functions(fn: str) -> None:
    for dtype in TYPES:
        if dtype.kind in FUNCTIONS[fn].kinds and dtype not in SMALL:
            m = Maker(**operands(fn, dtype))
            graph = m.graph(m(Pointwise(fn), *m.inputs.values()))
            bound = TOLERANCE.get(dtype.name, 0)
            check(graph, m.arrays, interpret(graph, m.arrays), rtol=bound, atol=bound)


@pytest.mark.parametrize("fn", ["shift_left", "shift_right"])
@pytest.mark.parametrize("dtype", [t for t in TYPES if t.is_integer and t.bits >= 8], ids=str)
def test_shifts_by_as_many_bits_as_there_are(fn: str, dtype: DType) -> None:
    """Also by a number that the kernel holds: what a compiler makes of it, the GPU alone shows."""
    x = draw(dtype, (3, 50))
    for bits in (dtype.bits - 1, dtype.bits, dtype.bits + 1):
        m = Maker(x=x)
        graph = m.graph(m(Pointwise(fn), m["x"], m.constant(np.array(bits, dtype.numpy))))
        check(graph, m.arrays, interpret(graph, m.arrays))
        m = Maker(x=x, y=np.full(50, bits, dtype.numpy))
        graph = m.graph(m(Pointwise(fn), m["x"], m["y"]))
        check(graph, m.arrays, interpret(graph, m.arrays))


def test_only_the_main_nest_shares_a_reduction() -> None:
    """Where both would, blocks of both would count in the same places."""
    x = np.random.default_rng(0).standard_normal((4, 65536)).astype(np.float32)
    for others in (Reduce("sum", (0,), False), Pointwise("relu")):
        m = Maker(x=x)
        graph = m.graph(m(Reduce("sum", (1,), False), m["x"]), m(others, m["x"]))
        check(graph, m.arrays, interpret(graph, m.arrays), rtol=1e-3, atol=1e-3)


SMOOTH = (
    "sigmoid", "silu", "softplus", "mish", "gelu", "gelu_tanh", "elu", "hard_swish", "softsign",
    "exp", "tanh", "erf",
)  # fmt: skip


@pytest.mark.parametrize("fn", SMOOTH)
def test_functions_on_dense_samples(fn: str) -> None:
    """Few units in the last place everywhere, beside what underflows."""
    x = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 80, 99)])
    x = np.concatenate([x, -x, [np.inf, -np.inf, np.nan]]).astype(np.float32)
    m = Maker(x=x, **({"alpha": np.ones(1, np.float32)} if FUNCTIONS[fn].arity == 2 else {}))
    graph = m.graph(m(Pointwise(fn), *m.inputs.values()))
    want = interpret_float64(graph, m.arrays)
    # float64 as GELU is defined cancels far below zero, as float32 does before hard_swish bends.
    lost = {"gelu": 1e-12, "gelu_tanh": 1e-12, "hard_swish": 1e-7}.get(fn, 1e-37)
    check(graph, m.arrays, want, rtol=1.5e-6 if "gelu" in fn else 5e-7, atol=lost)


@pytest.mark.parametrize("old", TYPES, ids=str)
def test_casts(old: DType) -> None:
    for new in TYPES:
        if new is not old:
            m = Maker(x=draw(old, (3, 7), size=30))
            graph = m.graph(m(Cast(new), m["x"]))
            check(graph, m.arrays, interpret(graph, m.arrays), rtol=1e-6)


@pytest.mark.parametrize("dtype", sorted(SMALL, key=str), ids=str)
def test_small_floats(dtype: DType) -> None:
    """Every code read, and floats of all sizes rounded."""
    for x, to in ((codes(dtype), dtypes.f32), (samples(dtype), dtype)):
        m = Maker(x=x)
        graph = m.graph(m(Cast(to, saturate=False), m["x"]))
        check(graph, m.arrays, interpret(graph, m.arrays))


@pytest.mark.parametrize("rows", [1, 3, 5, 70])
def test_small_reductions(rows: int) -> None:
    """Tiles are no taller than what there is to reduce."""
    m = Maker(x=draw(dtypes.f32, (rows, 5)))
    graph = m.graph(m(Reduce("sum", (1,), False), m["x"]), m(nn.Softmax(-1), m["x"]))
    check(graph, m.arrays, interpret(graph, m.arrays), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions(kind: str) -> None:
    for dtype in (dtypes.f32, dtypes.bf16, dtypes.i32, dtypes.u8, dtypes.bool_):
        if dtype.kind not in KINDS[kind]:
            continue
        for shape, axes in (((5, 300), (1,)), ((300, 5), (0,)), ((3, 17, 5), (0, 2))):
            x = draw(dtype, shape, 0.5)
            x = np.abs(x) + np.ones_like(x) if kind == "log_sum" else x
            m = Maker(x=x)
            graph = m.graph(m(Reduce(kind, axes, False), m["x"]))
            bound = TOLERANCE.get(dtype.name, 0) * 10
            check(graph, m.arrays, interpret(graph, m.arrays), 2, rtol=bound, atol=bound)


@pytest.mark.parametrize("last", [False, True])
def test_positions_of_the_largest(last: bool) -> None:
    array = np.random.default_rng(0).integers(0, 5, (4, 9000)).astype(np.float32)
    array[1, 70] = array[1, 8000] = np.nan
    array[2] = -np.inf
    for kind in ("max", "min"):
        for axis, x in ((1, array), (0, np.ascontiguousarray(array[:, :500].T))):
            m = Maker(x=x)
            graph = m.graph(m(ArgReduce(kind, axis, True, last), m["x"]))
            check(graph, m.arrays, interpret(graph, m.arrays))


def test_rows_longer_than_a_tile() -> None:
    m = Maker(x=draw(dtypes.f32, (3, 9001)), s=draw(dtypes.f32, (9001,)))
    outputs = m(nn.Softmax(-1), m["x"]), m(nn.LayerNorm(-1, 1e-5), m["x"], m["s"])
    for output in outputs:
        graph = m.graph(output)
        check(graph, m.arrays, interpret_float64(graph, m.arrays), 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", [nn.Softmax(-1), nn.LayerNorm(-1, 1e-5)], ids=["softmax", "norm"])
@pytest.mark.parametrize("short", [False, True])
def test_rows_are_divided_once(op: Any, short: bool) -> None:
    """Values that are rounded to 16 bits are multiplied by the reciprocal of their row's sum."""
    dtype = dtypes.f16 if short else dtypes.f32
    m = Maker(x=draw(dtype, (300, 97)), s=draw(dtypes.f32, (97,)))
    inputs = [m(Cast(dtypes.f32), m["x"])] + [m["s"]] * isinstance(op, nn.LayerNorm)
    graph = m.graph(m(Cast(dtype), m(op, *inputs)))
    work, offers = offered(graph)
    assert ("_reciprocal(" in Loops().build(work, offers[0]).source) == short
    assert {"rows": 1, "warps": 1}.items() <= offers[1].items()
    bound = TOLERANCE[dtype.name]
    check(graph, m.arrays, interpret_float64(graph, m.arrays), 2, rtol=bound, atol=bound)


@pytest.mark.parametrize("kind", ["mean", "max", "sum_square"])
def test_reductions_that_blocks_share(kind: str) -> None:
    for shape, axes in (((3, 9001), (1,)), ((5000, 17), (0,)), ((70001,), (0,))):
        m = Maker(x=draw(dtypes.bf16, shape))
        graph = m.graph(m(Pointwise("relu"), m(Reduce(kind, axes, False), m["x"])))
        work, offers = offered(graph)
        assert offers[0]["parts"] > 1
        code = Loops().build(work, offers[0])
        assert code.counters
        assert compile_cubin(code, H100).image
        check(graph, m.arrays, interpret(graph, m.arrays), rtol=8e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax wide", "layer", "hardmax", "max pool", "crop"])
def test_positions_of_64_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_is_wide", lambda *_: True)
    m, output = CASES[name]()
    graph = m.graph(output)
    work, offers = offered(graph)
    code = Loops().build(work, offers[0])
    assert "tl.int64" in code.source
    assert compile_cubin(code, H100).image
    check(graph, m.arrays, interpret(graph, m.arrays), rtol=2e-5, atol=3e-6)


SHAPES = [(1, 3, 5, 7), (7, 5, 4, 3), (1, 17, 6, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [dtypes.f32, dtypes.f16, dtypes.bf16], ids=str)
@pytest.mark.parametrize("name", ["chain", "transpose", "concat", "pool", "global", "norm"])
def test_regions(name: str, dtype: DType, shape: tuple[int, ...]) -> None:
    """Regions as a network has them: short floats at the boundary, NHWC, gaps after rows."""
    c = shape[1]
    wide = dtypes.f32
    m = Maker(x=draw(dtype, shape), y=draw(dtype, shape, seed=1), b=draw(dtypes.f32, (c, 1, 1)))
    x, y = (m(Cast(wide), m[v]) if dtype is not wide else m[v] for v in "xy")
    blocks = -(-c // 8) * 8
    made: Value
    if name == "chain":
        made = m(Pointwise("silu"), m(Pointwise("add"), m(Pointwise("mul"), x, m["b"]), y))
    elif name == "transpose":
        made = m(movement.Transpose((0, 2, 3, 1)), m(Pointwise("add"), x, y))
    elif name == "concat":
        made = m(movement.Concat(1), x, m(Pointwise("relu"), y))
    elif name == "pool":
        made = m(nn.Pool("max", (3, 3), (2, 1), (1, 1, 1, 1), (1, 1)), m(Pointwise("tanh"), x))
    elif name == "global":
        made = m(Reduce("mean", (2, 3), True), m(Pointwise("mul"), x, y))
    else:
        made = m(nn.GroupNorm(1, 1e-5), x, *(m.constant(draw(wide, (c,), seed=k)) for k in (2, 3)))
    output = m(Cast(dtype), made) if dtype is not wide else made
    graph = m.graph(output)
    want = interpret_float64(graph, m.arrays)
    bound = 2 * TOLERANCE[dtype.name]
    plain = {"b"} | {output.name} if name in ("transpose", "concat") else {"b"}
    blocked = {v.name: blocks for v in (*graph.inputs, output) if v.name not in plain}
    for layout in ({}, blocked):
        check(reblock(graph, layout), m.arrays, want, gaps={"x": 16}, rtol=bound, atol=bound)


def test_outputs_of_several_layouts() -> None:
    m = Maker(x=draw(dtypes.f32, (7, 33)), z=draw(dtypes.f32, (33, 7)))
    gate = m(Pointwise("sigmoid"), m["x"])
    other = m(movement.Transpose((1, 0)), m["z"])
    graph = m.graph(m(Pointwise("mul"), gate, other), gate, m(Pointwise("neg"), m["z"]))
    check(graph, m.arrays, interpret(graph, m.arrays), 8, rtol=1e-6, atol=1e-6)


def test_loads_are_masked_by_the_conditions_of_their_use() -> None:
    m = Maker(x=draw(dtypes.f32, (2, 3, 20)), y=draw(dtypes.f32, (2, 5, 20)))
    graph = m.graph(m(movement.Concat(1), m["x"], m(Pointwise("relu"), m["y"])))
    work, offers = offered(graph)
    source = Loops().build(work, offers[0]).source
    loads = [line for line in source.splitlines() if "tl.load" in line]
    assert len(loads) == 2
    assert sum("~" in line for line in loads) == 1
    assert "_least" not in source  # no position is clamped
    check(graph, m.arrays, interpret(graph, m.arrays))


FAMILIES = {
    "flat": "linear", "rows": "softmax", "outer rows": "softmax middle", "chunks": "matmul",
    "pool": "max pool", "norm": "layer", "position": "hardmax", "across": "space to depth",
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families_compile(family: str) -> None:
    m, output = CASES[FAMILIES[family]]()
    work, offers = offered(m.graph(output))
    for config in (offers[0], offers[-1]):
        assert compile_cubin(Loops().build(work, config), H100).registers < 255


def test_functions_compile() -> None:
    """All functions of floats in one kernel: libdevice is linked in without a GPU."""
    for dtype in (dtypes.f32, dtypes.f64, dtypes.i32, dtypes.u8, dtypes.bool_):
        m = Maker(x=np.ones((3, 21), dtype.numpy), c=np.ones((3, 21), np.bool_))
        outputs = []
        for fn, function in FUNCTIONS.items():
            if dtype.kind in function.kinds and dtype.kind != "c":
                args = [m["x"]] * function.arity
                outputs.append(m(Pointwise(fn), *([m["c"]] if fn == "select" else []),
                                 *args[fn == "select":]))  # fmt: skip
        work, offers = offered(m.graph(*outputs))
        assert compile_cubin(Loops().build(work, offers[0]), H100).image
