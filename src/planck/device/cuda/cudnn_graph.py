"""cuDNN's descriptors, and the graph of operations that a convolution and its steps are in them.

source: NVIDIA's cudnn_graph.h (cuDNN 9) for the numbers of enumerations
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ctypes import byref, c_bool, c_char, c_float, c_int, c_int64, c_void_p
from typing import Any, Final, NamedTuple

from planck.device.cuda.library import ALIGN, Convolution

DTYPES: Final = {"f32": 0, "f16": 2, "bf16": 9}  # cudnnDataType_t
_F32: Final = DTYPES["f32"]
_CROSS_CORRELATION: Final = 1  # cudnnConvolutionMode_t
_ADD: Final = 0  # cudnnPointwiseMode_t
MODES: Final = {
    "bias": _ADD, "beside": _ADD, "relu": 100, "tanh": 101, "sigmoid": 102, "gelu": 104,
    "silu": 106, "gelu_tanh": 107,
}  # fmt: skip

# cudnnBackendDescriptorType_t
POINTWISE, CONVOLUTION, ENGINE, CONFIG, HEURISTIC, PLAN, CHOICE = 0, 1, 2, 3, 4, 5, 7
OP_CONVOLUTION, OP_POINTWISE, GRAPH, PACK, TENSOR = 10, 13, 15, 16, 17


class Attribute(NamedTuple):
    """A cudnnBackendAttributeName_t, its cudnnBackendAttributeType_t, and ctypes' word for that."""

    number: int
    type: int
    ctype: Any


GRAPH_HANDLE: Final = Attribute(800, 0, c_void_p)
GRAPH_OPERATIONS: Final = Attribute(801, 15, c_void_p)
HEURISTIC_MODE: Final = Attribute(200, 8, c_int)
HEURISTIC_GRAPH: Final = Attribute(201, 15, c_void_p)
HEURISTIC_RESULTS: Final = Attribute(202, 15, c_void_p)
ENGINE_GRAPH: Final = Attribute(1300, 15, c_void_p)
ENGINE_INDEX: Final = Attribute(1301, 3, c_int64)
ENGINE_NOTES: Final = Attribute(1303, 11, c_int)
ENGINE_WAYS: Final = Attribute(1305, 19, c_int)
CONFIG_ENGINE: Final = Attribute(300, 15, c_void_p)
CONFIG_CHOICES: Final = Attribute(302, 15, c_void_p)
CHOICE_KNOB: Final = Attribute(600, 9, c_int)
CHOICE_VALUE: Final = Attribute(601, 3, c_int64)
PLAN_HANDLE: Final = Attribute(400, 0, c_void_p)
PLAN_CONFIG: Final = Attribute(401, 15, c_void_p)
PLAN_TEXT: Final = Attribute(405, 24, c_char)
PLAN_WORKSPACE: Final = Attribute(402, 3, c_int64)
PACK_NUMBERS: Final = Attribute(1000, 3, c_int64)
PACK_POINTERS: Final = Attribute(1001, 6, c_void_p)
PACK_WORKSPACE: Final = Attribute(1003, 6, c_void_p)
_TENSOR_ALIGNMENT: Final = Attribute(900, 3, c_int64)
_TENSOR_DTYPE: Final = Attribute(901, 1, c_int)
_TENSOR_DIMS: Final = Attribute(902, 3, c_int64)
_TENSOR_STRIDES: Final = Attribute(903, 3, c_int64)
_TENSOR_NUMBER: Final = Attribute(906, 3, c_int64)
_TENSOR_VIRTUAL: Final = Attribute(907, 2, c_bool)
_CONVOLUTION_DTYPE: Final = Attribute(100, 1, c_int)
_CONVOLUTION_MODE: Final = Attribute(101, 7, c_int)
_CONVOLUTION_DILATIONS: Final = Attribute(102, 3, c_int64)
_CONVOLUTION_STRIDES: Final = Attribute(103, 3, c_int64)
_CONVOLUTION_AFTER: Final = Attribute(104, 3, c_int64)
_CONVOLUTION_BEFORE: Final = Attribute(105, 3, c_int64)
_CONVOLUTION_AXES: Final = Attribute(106, 3, c_int64)
_OP_CONVOLUTION_ALPHA: Final = Attribute(700, 4, c_float)
_OP_CONVOLUTION_BETA: Final = Attribute(701, 4, c_float)
_OP_CONVOLUTION_HOW: Final = Attribute(702, 15, c_void_p)
_OP_CONVOLUTION_W: Final = Attribute(703, 15, c_void_p)
_OP_CONVOLUTION_X: Final = Attribute(704, 15, c_void_p)
_OP_CONVOLUTION_Y: Final = Attribute(705, 15, c_void_p)
_POINTWISE_MODE: Final = Attribute(0, 14, c_int)
_POINTWISE_DTYPE: Final = Attribute(1, 1, c_int)
_OP_POINTWISE_HOW: Final = Attribute(750, 15, c_void_p)
_OP_POINTWISE_X: Final = Attribute(751, 15, c_void_p)
_OP_POINTWISE_B: Final = Attribute(752, 15, c_void_p)
_OP_POINTWISE_Y: Final = Attribute(753, 15, c_void_p)

# Tensors by their numbers, as a variant pack names them; virtual ones follow.
A, B, D, C, BIAS, _VIRTUAL = 1, 2, 3, 4, 5, 10


class Descriptors:
    """Objects of the library, given back together.

    call:  a function of the library by its name; it raises where that fails
    """

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call
        self._own: list[Any] = []

    def make(self, kind: int, *attributes: tuple[Attribute, Sequence[Any]]) -> Any:
        """A descriptor that is ready; attributes without values are left out."""
        made = self._create(kind)
        for name, values in attributes:
            many: Any = name.ctype * len(values)
            array = many.from_buffer_copy(values) if isinstance(values, bytes) else many(*values)
            if values:
                self._call(
                    "cudnnBackendSetAttribute", made, c_int(name.number), c_int(name.type),
                    c_int64(len(values)), array,
                )  # fmt: skip
        self._call("cudnnBackendFinalize", made)
        return made

    def read(self, what: Any, name: Attribute, kind: int, most: int) -> list[Any]:
        """Descriptors that one holds, at most so many."""
        made = [self._create(kind) for _ in range(most)]
        return made[: self._get(what, name, (c_void_p * most)(*made))]

    def numbers(self, what: Any, name: Attribute, most: int = 1) -> list[int]:
        array = (name.ctype * most)()
        return list(array[: self._get(what, name, array)])

    def text(self, what: Any, name: Attribute) -> bytes:
        size = self._count(what, name, 0, None)
        array = (name.ctype * size)()
        length = self._get(what, name, array)
        return bytes(array.raw[:length])

    def _get(self, what: Any, name: Attribute, array: Any) -> int:
        return min(self._count(what, name, len(array), array), len(array))

    def _count(self, what: Any, name: Attribute, most: int, array: Any) -> int:
        count = c_int64()
        self._call(
            "cudnnBackendGetAttribute", what, c_int(name.number), c_int(name.type),
            c_int64(most), byref(count), array,
        )  # fmt: skip
        return count.value

    def _create(self, kind: int) -> Any:
        made = c_void_p()
        self._call("cudnnBackendCreateDescriptor", c_int(kind), byref(made))
        self._own.append(made)
        return made

    def close(self) -> None:
        while self._own:
            self._call("cudnnBackendDestroyDescriptor", self._own.pop())


def numbers_of(product: Convolution) -> list[int]:
    """The tensors that are not virtual."""
    return [A, B, D, *([C] if product.c is not None else []), *([BIAS] if product.bias else [])]


def operations(made: Descriptors, handle: Any, product: Convolution) -> Any:
    """The graph: the convolution, then each of its steps, of which the last writes D."""
    current = _result(made, product, 0)
    nodes = [_convolution(made, product, current)]
    for number, step in enumerate(product.steps, 1):
        source, current = current, _result(made, product, number)
        how = made.make(POINTWISE, (_POINTWISE_MODE, [MODES[step]]), (_POINTWISE_DTYPE, [_F32]))
        nodes.append(made.make(
            OP_POINTWISE,
            (_OP_POINTWISE_HOW, [how]),
            (_OP_POINTWISE_X, [source]),
            (_OP_POINTWISE_B, _operand(made, product, step)),
            (_OP_POINTWISE_Y, [current]),
        ))  # fmt: skip
    return made.make(GRAPH, (GRAPH_OPERATIONS, nodes), (GRAPH_HANDLE, [handle]))


def _convolution(made: Descriptors, product: Convolution, result: Any) -> Any:
    channels, down, across = product.b_dims[1:]
    dense = (down * across * channels, 1, across * channels, channels)
    how = made.make(
        CONVOLUTION,
        (_CONVOLUTION_AXES, [2]),
        (_CONVOLUTION_DTYPE, [_F32]),
        (_CONVOLUTION_MODE, [_CROSS_CORRELATION]),
        (_CONVOLUTION_BEFORE, product.before),
        (_CONVOLUTION_AFTER, product.after),
        (_CONVOLUTION_DILATIONS, product.dilations),
        (_CONVOLUTION_STRIDES, product.strides),
    )
    return made.make(
        OP_CONVOLUTION,
        (_OP_CONVOLUTION_X,
         [_tensor(made, A, product.dtype, product.a_dims, product.a.strides)]),
        (_OP_CONVOLUTION_W, [_tensor(made, B, product.dtype, product.b_dims, dense)]),
        (_OP_CONVOLUTION_Y, [result]),
        (_OP_CONVOLUTION_HOW, [how]),
        (_OP_CONVOLUTION_ALPHA, [1.0]),
        (_OP_CONVOLUTION_BETA, [0.0]),
    )  # fmt: skip


def _result(made: Descriptors, product: Convolution, number: int) -> Any:
    """Of the convolution (0) or of a step: float32 where it is virtual."""
    if number == len(product.steps):
        return _tensor(made, D, product.result, product.d_dims, product.d.strides)
    return _tensor(made, _VIRTUAL + number, "f32", product.d_dims, product.d.strides)


def _operand(made: Descriptors, product: Convolution, step: str) -> list[Any]:
    """What a step reads beside the result of the one before."""
    columns = product.columns
    if step == "bias":
        strides = (columns, 1, columns, columns)
        return [_tensor(made, BIAS, product.result, (1, columns, 1, 1), strides)]
    if step == "beside":
        assert product.c is not None
        return [_tensor(made, C, product.result, product.d_dims, product.c.strides)]
    return []


def _tensor(
    made: Descriptors, number: int, dtype: str, dims: Sequence[int], strides: Sequence[int]
) -> Any:
    return made.make(
        TENSOR,
        (_TENSOR_DTYPE, [DTYPES[dtype]]),
        (_TENSOR_DIMS, dims),
        (_TENSOR_STRIDES, strides),
        (_TENSOR_NUMBER, [number]),
        (_TENSOR_ALIGNMENT, [ALIGN]),
        (_TENSOR_VIRTUAL, [True] if number >= _VIRTUAL else []),
    )
