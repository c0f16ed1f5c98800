"""Runs one kernel by itself: compiles its code, lays arrays out as operands say, calls it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from planck.codegen.llvm import compile_object
from planck.device import system
from planck.dtypes import DType, bf16, f32
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import TensorType
from planck.ops.pointwise import Cast, Pointwise
from planck.plan.model import COUNTERS, WORKSPACE
from planck.tactics.kernel import Kernel, Operand
from planck.target import Target, host

Array = np.ndarray[Any, Any]
ENGINES: list[Any] = []


def target_of(isa: str) -> Target:
    """A target of this machine with another ISA; skips where the processor lacks it."""
    here = host()
    order = ("portable", "avx2", "avx512")
    if here.isa not in order or order.index(isa) > order.index(here.isa):
        pytest.skip(f"this processor has no {isa}")
    return Target(isa, here.arch, (), here.machine, 2, here.l1_bytes, here.l2_bytes)


def lay_out(array: Array, operand: Operand) -> Array:
    """A flat buffer that holds an array as an operand says; everything else in it is NaN."""
    extents, dtype = operand.type.physical, operand.type.dtype
    need = 1 + sum((n - 1) * s for n, s in zip(extents, operand.strides, strict=True))
    raw = np.full(need + 128, np.nan if dtype.is_float else 77, dtype.numpy)
    start = (-raw.ctypes.data % 64) // dtype.bytes
    buffer = raw[start : start + need + 64 // dtype.bytes]
    view = strided(buffer, operand)
    if operand.type.block:
        n, c, *spatial = array.shape
        lanes = operand.type.block
        junk = np.nan if dtype.is_float else 77
        whole = np.full((n, -(-c // lanes) * lanes, *spatial), junk, dtype.numpy)
        whole[:, :c] = array
        whole = whole.reshape(n, -1, lanes, *spatial)
        view[...] = np.moveaxis(whole, 2, -1)
    else:
        view[...] = array
    return buffer


def strided(buffer: Array, operand: Operand) -> Array:
    strides = [operand.type.dtype.bytes * s for s in operand.strides]
    bytes_ = buffer.view(np.uint8)  # NumPy takes no buffer of short floats
    return np.ndarray(operand.type.physical, buffer.dtype, bytes_, 0, strides)


def read_back(buffer: Array, operand: Operand) -> Array:
    view = strided(buffer, operand)
    if not operand.type.block:
        return view.copy()
    n, c, *spatial = operand.type.dims
    return np.moveaxis(view, -1, 2).reshape(n, -1, *spatial)[:, :c].copy()


def load(target: Target, code: Any) -> Callable[..., None]:
    """The compiled function of a kernel's code."""
    object_ = compile_object(target, code.llvm, code.level)
    module = llvm.parse_assembly("")
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_))
    engine.finalize_object()
    ENGINES.append(engine)
    address = engine.get_function_address(code.symbol)
    assert address
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(
        address
    )


def run_kernel(
    kernel: Kernel, tactic: Any, config: Any, arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """The outputs, by name; the tiles run in three calls as threads would."""
    code = tactic.build(kernel, config)
    packed = tactic.pack(kernel, config, {n: arrays[n] for n in kernel.constants})
    buffers: dict[str, Array] = {}
    for value in kernel.graph.inputs:
        buffers[value.name] = lay_out(arrays[value.name], kernel.operands[value.name])
    for value in kernel.graph.outputs:
        type_ = kernel.operands[value.name].type
        nothing = np.full(type_.dims, np.nan if type_.dtype.is_float else -99)
        buffers[value.name] = lay_out(nothing, kernel.operands[value.name])
    for name, array in packed.items():
        raw = np.empty(array.nbytes + 192, np.uint8)
        start = -raw.ctypes.data % 64
        buffers[name] = raw[start : start + array.nbytes + 64]
        buffers[name][: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    buffers[WORKSPACE] = system.allocate(code.workspace_bytes)
    buffers[WORKSPACE][...] = 255
    buffers[COUNTERS] = system.allocate(code.counter_bytes)
    pointers = (ctypes.c_void_p * len(code.arguments))(
        *(buffers[name].ctypes.data for name in code.arguments)
    )
    scratch = np.full(code.scratch_bytes // 4 + 64, np.nan, np.float32)
    place = scratch.ctypes.data + (-scratch.ctypes.data % 64)
    function = load(kernel.target, code)
    third = code.tiles // 3
    for begin, end in ((third, code.tiles - third), (0, third), (code.tiles - third, code.tiles)):
        if begin < end:  # nobody claims nothing
            function(pointers, begin, end, place)
    assert not buffers[COUNTERS].any()
    return {
        v.name: read_back(buffers[v.name], kernel.operands[v.name]) for v in kernel.graph.outputs
    }


class Case:
    """Builds a kernel node by node."""

    def __init__(self, target: Target, seed: int = 0, dtype: DType = bf16) -> None:
        self.target, self.dtype = target, dtype  # dtype: of what is short
        self.random = np.random.default_rng(seed)
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.operands: dict[str, Operand] = {}
        self.constants: set[str] = set()
        self.weights: dict[str, Array] = {}
        self.arrays: dict[str, Array] = {}

    def block(self, shape: tuple[int, ...]) -> int:
        """The channel block of what lies blocked."""
        return self.target.lanes

    def input(
        self, *shape: int, block: bool = False, scale: float = 1.0, dtype: DType = f32
    ) -> Value:
        value = Value(
            f"v{len(self.arrays)}",
            TensorType(shape, dtype, self.block(shape) if block else 0),
        )
        self.inputs.append(value)
        self.operands[value.name] = Operand.dense(value.type)
        array = self.random.standard_normal(shape) * scale
        self.arrays[value.name] = array.astype(np.float32).astype(dtype.numpy)
        return value

    def short(
        self, *shape: int, block: bool = False, scale: float = 1.0, constant: bool = False
    ) -> tuple[Value, Array]:
        """An input that lies in 16 bits: what the nodes read of it, and its numbers."""
        value = self.input(*shape, block=block, scale=scale, dtype=self.dtype)
        if constant:
            self.constants.add(value.name)
        wide = Value(f"w{value.name}", TensorType(shape, f32))
        self.nodes.append(Node(Cast(f32), (value,), (wide,)))
        return wide, self.arrays[value.name].astype(np.float64)

    def rounded(self, value: Value) -> Value:
        """A value as it is written in 16 bits."""
        result = Value(f"r{value.name}", value.type.with_dtype(self.dtype))
        self.nodes.append(Node(Cast(self.dtype), (value,), (result,)))
        return result

    def constant(self, *shape: int, scale: float = 1.0) -> Value:
        value = self.input(*shape, scale=scale)
        self.constants.add(value.name)
        return value

    def scalar(self, number: float) -> Value:
        value = Value(f"s{len(self.weights)}", TensorType((), f32))
        self.weights[value.name] = np.array(number, np.float32)
        return value

    def node(
        self, op: Op, inputs: list[Value], shape: tuple[int, ...], block: bool = False
    ) -> Value:
        type_ = TensorType(shape, f32, self.block(shape) if block else 0)
        value = Value(f"n{len(self.nodes)}", type_)
        self.nodes.append(Node(op, tuple(inputs), (value,)))
        return value

    def pointwise(self, fn: str, *inputs: Value) -> Value:
        made = next(v for v in inputs if v.name.startswith("n"))
        value = Value(f"n{len(self.nodes)}", made.type)
        self.nodes.append(Node(Pointwise(fn), tuple(inputs), (value,)))
        return value

    def kernel(self, *outputs: Value, threads: int = 1) -> Kernel:
        for value in outputs:
            self.operands[value.name] = Operand.dense(value.type)
        graph = Graph("kernel", tuple(self.inputs), tuple(self.nodes), outputs, self.weights)
        return Kernel(graph, self.operands, frozenset(self.constants), self.target, threads)

    def run(self, tactic: Any, kernel: Kernel, config: Any) -> dict[str, Array]:
        return run_kernel(kernel, tactic, config, self.arrays)


def convolve(
    x: Array, w: Array, strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...],
    groups: int = 1,
) -> Array:  # fmt: skip
    """Convolution in float64, tap by tap."""
    rank = x.ndim - 2
    x = np.pad(
        x.astype(np.float64),
        [(0, 0), (0, 0), *[(pads[i], pads[rank + i]) for i in range(rank)]],
    )
    out = [
        (x.shape[2 + i] - dilations[i] * (w.shape[2 + i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    ]
    m, per = w.shape[0], w.shape[1]
    result = np.zeros((x.shape[0], m, *out))
    for tap in np.ndindex(*w.shape[2:]):
        part = x[
            (
                slice(None),
                slice(None),
                *(
                    slice(t * d, t * d + s * (o - 1) + 1, s)
                    for t, d, s, o in zip(tap, dilations, strides, out, strict=True)
                ),
            )
        ]
        for g in range(groups):
            rows = slice(g * m // groups, (g + 1) * m // groups)
            picked = w[(rows, slice(None), *tap)].astype(np.float64)
            result[:, rows] += np.einsum(
                "nc...,mc->nm...", part[:, g * per : (g + 1) * per], picked
            )
    return result


@pytest.fixture(name="convolve")
def _convolve() -> Callable[..., Array]:
    return convolve


@pytest.fixture(params=["avx512", "avx2", "portable"])
def target(request: pytest.FixtureRequest) -> Target:
    return target_of(request.param)


@pytest.fixture
def case(target: Target) -> Case:
    return Case(target)
