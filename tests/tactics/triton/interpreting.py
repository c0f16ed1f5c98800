"""Runs a TritonCode in Triton's interpreter, on NumPy buffers, in a process that compiles too.

Around each buffer and in its gaps lies poison, bytes of 255: NaN in every float. Whoever reads it
spoils a result, whoever writes there is told.
"""

from __future__ import annotations

import ctypes
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.compile import function_of
from planck.device.cuda.driver import TensorMap
from planck.plan.model import COUNTERS, WORKSPACE
from planck.tactics.kernel import Kernel, Operand
from tests.tactics.conftest import lay_out, read_back, strided

triton = pytest.importorskip("triton", reason="Triton is not installed")

import triton.language as tl  # noqa: E402
from triton.language import extra  # noqa: E402
from triton.language.extra import libdevice  # noqa: E402
from triton.runtime import interpreter  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

Array = np.ndarray[Any, Any]
GUARD = 4096  # bytes before and after a buffer
POISON = 255


class Memory:
    """One guarded buffer: `address`, `begin` bytes into `raw`, is given to the kernel."""

    def __init__(self, content: Array, aligned: bool = True) -> None:
        body = np.ascontiguousarray(content).reshape(-1)
        whole = np.full(2 * GUARD + body.nbytes + 192, POISON, np.uint8)
        self.raw = whole[-whole.ctypes.data % 64 :]
        self.begin = begin = GUARD + (0 if aligned else body.itemsize)
        self.flat = self.raw[begin : begin + body.nbytes].view(body.dtype)
        self.flat[:] = body
        self.address = self.raw.ctypes.data + begin
        self.before = self.raw.copy()

    @property
    def span(self) -> tuple[int, int]:
        return self.address, self.address + self.flat.nbytes

    def poison(self) -> None:
        self.raw[:] = POISON
        self.before = self.raw.copy()

    def check_untouched(self, name: str, operand: Operand | None = None) -> None:
        """Nothing but an output's elements may have changed."""
        now, then = self.raw.copy(), self.before
        if operand is not None:
            inner = now[self.begin :][: self.flat.nbytes]
            strided(inner.view(self.flat.dtype), operand).view(f"V{self.flat.itemsize}")[...] = (
                np.full((), POISON, f"({self.flat.itemsize},)u1").view(f"V{self.flat.itemsize}")
            )
        changed = np.flatnonzero(now != then)
        assert not changed.size, f"{changed.size} bytes beside {name} were written"

    def check_written(self, name: str, operand: Operand) -> None:
        found = read_back(self.flat, operand)
        dtype = operand.type.dtype
        if (dtype.is_float and dtype.bits > 8) or dtype.kind == "b":  # others may be just that
            bytes_ = np.ascontiguousarray(found).view(np.uint8).reshape(*found.shape, -1)
            left = np.argwhere((bytes_ == POISON).all(-1))
            assert not left.size, f"{name} was not written at {left[:4].tolist()}, ..."


def run_triton(
    kernel: Kernel, tactic: Any, config: Any, arrays: Mapping[str, Array], seed: int = 0
) -> dict[str, Array]:
    """The outputs of a kernel's code, by name; blocks run in a random order."""
    code = tactic.build(kernel, config)
    graph, operands = kernel.graph, kernel.operands
    outputs = {v.name for v in graph.outputs}
    memory: dict[str, Memory] = {}
    for value in (*graph.inputs, *graph.outputs):
        operand = operands[value.name]
        dims, dtype = operand.type.dims, operand.type.dtype.numpy
        content = np.zeros(dims, dtype) if value.name in outputs else arrays[value.name]
        flat = lay_out(content, operand)
        flat = flat[: flat.size - 64 // flat.itemsize]
        memory[value.name] = Memory(flat, operand.aligned)
        if value.name in outputs:
            memory[value.name].poison()
    packed = tactic.pack(kernel, config, {n: arrays[n] for n in kernel.constants})
    memory |= {name: Memory(array) for name, array in packed.items()}
    memory[WORKSPACE] = Memory(np.full(code.workspace_bytes, POISON, np.uint8))
    memory[COUNTERS] = Memory(np.zeros(code.counters, np.int32))
    run_code(code, memory, seed)
    for name, place in memory.items():
        if name in outputs:
            place.check_written(name, operands[name])
            place.check_untouched(name, operands[name])
        elif name != WORKSPACE:
            place.check_untouched(name)
    return {name: read_back(memory[name].flat, operands[name]) for name in outputs}


def run_code(code: TritonCode, memory: Mapping[str, Memory], seed: int = 0) -> None:
    """Run all blocks of a kernel, in the interpreter or where the fixture `device` says."""
    (RUNNERS[-1] if RUNNERS else interpret)(code, memory, seed)


RUNNERS: list[Any] = []


def interpret(code: TritonCode, memory: Mapping[str, Memory], seed: int = 0) -> None:
    """Run all blocks of a kernel in Triton's interpreter, in a random order.

    Whatever it reads or writes lies in the `span` of one of its arguments.
    """
    _SPANS[:] = [memory[argument].span for argument in code.arguments]
    assert len(code.arguments) == len(code.types) == len(code.aligned)
    with _interpreting(), function_of(code) as function:
        patched = interpreter._patch_lang(_SEEN)
        try:
            body = function.rewrite()
            parameters: dict[str, Any] = {}
            tensors = {tensor.argument: tensor for tensor in code.tensors}
            for name, argument, kind in zip(
                function.arg_names, code.arguments, code.types, strict=True
            ):
                address = memory[argument].address
                if (tensor := tensors.get(len(parameters))) is not None:
                    tile = kind[kind.index("[") + 1 : kind.index("]")].split(",")
                    parameters[name] = Described(tensor, address, tuple(map(int, tile)))
                    continue
                pointer = tl.str_to_ty(kind, None)
                where = np.array([address], np.uint64)
                parameters[name] = tl.tensor(interpreter.TensorHandle(where, pointer), pointer)
            interpreter.interpreter_builder.set_grid_dim(code.grid, 1, 1)
            for block in np.random.default_rng(seed).permutation(code.grid):
                interpreter.interpreter_builder.set_grid_idx(int(block), 0, 0)
                body(**parameters)
        finally:
            patched.restore()


class Described:
    """A parameter that is a tensor map: tiles are zero where they reach over the matrix."""

    def __init__(self, tensor: TensorMap, address: int, tile: tuple[int, ...]) -> None:
        self.tile = tile
        self.tensor, self.dtype = tensor, {"f16": tl.float16, "bf16": tl.bfloat16}[tensor.dtype]
        assert not address % 16, "not aligned"
        assert not tensor.row_bytes % 16, "rows that are not aligned"
        flat = np.frombuffer((ctypes.c_uint8 * tensor.bytes).from_address(address), np.uint16)
        strides = (tensor.row_bytes, 2)
        self.matrix = np.lib.stride_tricks.as_strided(flat, (tensor.rows, tensor.columns), strides)

    def load(self, place: list[Any]) -> Any:
        at = [int(x.handle.data.item() if isinstance(x, tl.tensor) else x) for x in place]
        tile = np.zeros(self.tile, np.uint16)
        found = self.matrix[at[0] :, at[1] :][: tile.shape[0], : tile.shape[1]]
        tile[: found.shape[0], : found.shape[1]] = found
        data = tile if self.dtype is tl.bfloat16 else tile.view(np.float16)
        kind = tl.block_type(self.dtype, list(tile.shape))
        return tl.tensor(interpreter.TensorHandle(data, self.dtype), kind)


@contextmanager
def _interpreting() -> Iterator[None]:
    """Triton's own functions run in Python; those of the device do nothing, or NumPy's work."""
    with ExitStack() as stack:
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmax of NaN alone
        stack.enter_context(triton.knobs.runtime.scope())
        triton.knobs.runtime.interpret = True
        builder = interpreter.InterpreterBuilder
        for owner, changes in (
            (builder, {"create_masked_load": _load, "create_masked_store": _store}),
            (builder, {"cast_impl": _cast, "create_fp_to_fp": _cast, "create_dot": _dot}),
            (interpreter.InterpretedFunction, {"__call__": _call}),
            (interpreter.ReduceOps, {"generic_reduce": _reduce, "min_max": _min_max}),
            *((module, _NOTHING) for module in _CUDA),
            (libdevice, {name: _elementwise(f) for name, f in _LIBDEVICE.items()}),
            (tl.standard, _interpreted(tl.standard)),
            (tl.math, _interpreted(tl.math)),
            (tl, _interpreted(tl)),
        ):
            stack.enter_context(patch.multiple(owner, **changes)) if changes else None
        yield


def _interpreted(module: Any) -> dict[str, Any]:
    found = {k: v for k, v in vars(module).items() if isinstance(v, JITFunction)}
    return {k: _INTERPRETED.setdefault(v, interpreter.InterpretedFunction(v.fn))
            for k, v in found.items()}  # fmt: skip


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """A function called by a kernel. Triton's own would patch the language and leave it so."""
    return self.rewrite()(*args, **kwargs)


_SEEN = SimpleNamespace(__globals__={"tl": tl, "core": tl.core})  # what functions see of Triton
_INTERPRETED: dict[Any, Any] = {}
# Triton imports this one twice, as an attribute and as a module.
_CUDA = (extra.cuda, import_module("triton.language.extra.cuda"))
_NOTHING = {name: lambda *_, **__: None for name in ("gdc_wait", "gdc_launch_dependents")}


_SPANS: list[tuple[int, int]] = []
_MASKED_LOAD = interpreter.InterpreterBuilder.create_masked_load
_MASKED_STORE = interpreter.InterpreterBuilder.create_masked_store


def _load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
    """What is masked, and no other value is given for, is anything on a GPU."""
    _check_addresses(pointers, mask)
    if other is None:
        kind = pointers.get_element_ty()
        bits = np.dtype(interpreter._get_np_dtype(kind))
        poison = np.full((*pointers.data.shape, bits.itemsize), POISON, np.uint8)
        other = interpreter.TensorHandle(poison.view(bits)[..., 0], kind)
    return _MASKED_LOAD(self, pointers, mask, other, *rest, **named)


def _store(self: Any, pointers: Any, value: Any, mask: Any, *others: Any, **named: Any) -> Any:
    _check_addresses(pointers, mask)
    return _MASKED_STORE(self, pointers, value, mask, *others, **named)


def _check_addresses(pointers: Any, mask: Any) -> None:
    used = np.broadcast_to(mask.data.astype(bool), pointers.data.shape)
    addresses = pointers.data[used]
    inside = np.zeros(addresses.shape, bool)
    for begin, end in _SPANS:
        inside |= (addresses >= begin) & (addresses < end)
    assert inside.all(), f"{(~inside).sum()} of {inside.size} addresses are of no argument"


def _floats(handle: Any) -> Array:
    """A handle's numbers; the interpreter keeps bfloat16 as its bits."""
    data = handle.data
    return data.view(ml_dtypes.bfloat16) if handle.dtype.scalar == tl.bfloat16 else data


def _cast(self: Any, src: Any, dst_type: Any, rounding_mode: Any = None) -> Any:
    """As the GPU: to nearest, halves to even; integers end at their limits, as PTX's cvt says.

    Triton's interpreter cuts bfloat16 off, and NumPy makes the least integer of what is too much.
    """
    to = dst_type.scalar
    if to == tl.bfloat16:
        bits = _floats(src).astype(ml_dtypes.bfloat16).view(np.uint16)
        return interpreter.TensorHandle(bits, to)
    values, kind = _floats(src), interpreter._get_np_dtype(to)
    made = values.astype(kind)
    if to.is_int() and to.int_bitwidth > 8 and src.dtype.scalar.is_floating():
        ends = np.iinfo(kind)
        nan = 1 << (to.int_bitwidth - 1) if 64 in (to.int_bitwidth, values.itemsize * 8) else 0
        made[values >= float(ends.max)] = ends.max
        made[values <= float(ends.min)] = ends.min
        made[np.isnan(values)] = np.array(nan, np.uint64).astype(kind)
    return interpreter.TensorHandle(made, to)


def _dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, *_: Any) -> Any:
    left, right = (_floats(x).astype(d.data.dtype) for x in (a, b))
    return interpreter.TensorHandle(np.matmul(left, right) + d.data, d.dtype.scalar)


def _min_max(self: Any, input: Any, val_reduce_op: Any, idx_reduce_op: Any = None) -> Any:
    """NaN wins in the GPU's comparisons only where it is asked for: take the slow, true way."""
    whole = input if isinstance(input, tuple) else (input,)
    found = self.generic_reduce(whole)
    return found[0] if len(found) == 1 else tuple(found)


def _reduce(self: Any, input: tuple[Any, ...]) -> list[Any]:
    """Halves combined with halves until one is left, many at once."""
    axis = self.axis
    parts = [part.handle.data for part in input]
    if axis is None:
        parts, axis = [part.reshape(-1) for part in parts], 0
    kinds = [part.dtype for part in input]

    def tensor(data: Array, kind: Any) -> Any:
        shape = tl.block_type(kind, list(data.shape)) if data.ndim else kind
        return tl.tensor(interpreter.TensorHandle(data if data.ndim else data[None], kind), shape)

    while parts[0].shape[axis] > 1:
        halves = [np.split(part, 2, axis) for part in parts]
        sides = [[tensor(h[k], t) for h, t in zip(halves, kinds, strict=True)] for k in (0, 1)]
        made = self.combine_fn.fn(*sides[0], *sides[1])
        made = made if isinstance(made, tuple) else (made,)
        parts = [np.asarray(m.handle.data) for m in made]
    if self.keep_dims:
        rank = input[0].handle.data.ndim
        parts = parts if self.axis is not None else [p.reshape((1,) * rank) for p in parts]
        return [tensor(part, kind) for part, kind in zip(parts, kinds, strict=True)]
    parts = [np.squeeze(part, axis) for part in parts]
    return [tensor(part, kind) for part, kind in zip(parts, kinds, strict=True)]


def _elementwise(function: Any) -> Any:
    def call(*args: Any, **_: Any) -> Any:
        like = next(a for a in args if isinstance(a, tl.tensor))
        data = [_floats(a.handle) if isinstance(a, tl.tensor) else np.float32(a) for a in args]
        result = np.asarray(function(*(d.astype(np.float64) for d in data)))
        handle = interpreter.TensorHandle(result.astype(_floats(like.handle).dtype), like.dtype)
        return tl.tensor(handle, like.type)

    return call


_LIBDEVICE: dict[str, Any] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "log2": np.log2, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "erf": np.vectorize(math.erf, [np.float64]), "erfc": np.vectorize(math.erfc, [np.float64]),
    "pow": np.power, "fmod": np.fmod,
    "rint": np.rint, "nearbyint": np.rint, "trunc": np.trunc, "floor": np.floor, "ceil": np.ceil,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "fast_expf": np.exp,
    "copysign": np.copysign, "div_rn": np.divide, "mul_rn": np.multiply,
    "fast_dividef": np.divide,
}  # fmt: skip
"""What libdevice computes on the GPU to one or two units in the last place."""
