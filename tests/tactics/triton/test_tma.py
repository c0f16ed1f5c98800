"""Large products by tensor maps, against float64."""

from __future__ import annotations

from typing import Any

import pytest

from planck.dtypes import bf16, f16, f32
from planck.ir.graph import Node, Value
from planck.ir.types import TensorType
from planck.ops.movement import Slice
from planck.tactics.kernel import Operand
from planck.tactics.triton.tma import TmaProduct
from tests.tactics.triton.conftest import H100, TritonCase
from tests.tactics.triton.test_convolution import Layer
from tests.tactics.triton.test_matmul import check, product

TACTIC = TmaProduct()
CUT = {"bm": 64, "bn": 64, "bk": 64, "warps": 4, "stages": 3, "blocks": 0}
ODD = ((300, 136), (136, 200))  # neither rows, columns nor sums in whole tiles


@pytest.mark.parametrize("dtype", [f16, bf16])
@pytest.mark.parametrize(("bn", "bk"), [(64, 128), (96, 64), (144, 64), (256, 64)])
def test_odd_sizes(dtype: Any, bn: int, bk: int) -> None:
    check(TACTIC, dtype, *product(dtype, *ODD), **{**CUT, "bn": bn, "bk": bk})


def test_transposed_weights() -> None:
    made = product(f16, (2, 150, 136), (72, 136), transposes=(False, True), full=False)
    check(TACTIC, f16, *made, **CUT)


@pytest.mark.parametrize("blocks", [3, 132])
def test_blocks_that_stay(blocks: int) -> None:
    check(TACTIC, f16, *product(f16, *ODD), **{**CUT, "bn": 96, "blocks": blocks})


@pytest.mark.parametrize("channels", [136, 140])
def test_single_pixels(channels: int) -> None:
    Layer((2, channels, 13, 11), 100, 1).then("relu").plus().check(TACTIC, **{**CUT, "bn": 96})


def test_parts_and_pixels_of_a_concatenation() -> None:
    """The image lies among others' channels; slices of the result go each to a place of its own."""
    layer = Layer((2, 136, 13, 11), 100, 1).then("silu")
    outputs, whole, wanted = [], layer.made, layer.wanted
    for start, size in ((0, 60), (60, 40)):
        shape = (2, size, 13, 11)
        cut = Value(f"part{start}", TensorType(shape, f32, -(-size // 8) * 8))
        op = Slice((0, start, 0, 0), shape, (1, 1, 1, 1))
        layer.case.nodes.append(Node(op, (whole,), (cut,)))
        outputs.append(layer.case.rounded(cut))
    kernel = layer.case.kernel(*outputs)
    x = kernel.graph.inputs[0]
    h, w = x.type.dims[2:]
    for aligned in (False, True):
        strides = (160 * h * w, 160, 160 * w, 160, 1)
        kernel.operands[x.name] = Operand(x.type, strides, aligned)  # type: ignore[index]
        assert bool(TACTIC.offers(kernel)) == aligned
    found = layer.case.run(TACTIC, kernel, {**TACTIC.offers(kernel)[0], **CUT, "bn": 96})
    for value, start in zip(outputs, (0, 60), strict=True):
        layer.compare(found[value.name], wanted[:, start : start + value.type.dims[1]])


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (lambda: Layer((4, 136, 9, 9), 100, 3, pad=1), "no convolution of single pixels"),
        (lambda: Layer((4, 136, 9, 9), 100, 1, stride=2), "no convolution of single pixels"),
        (lambda: Layer((4, 136, 9, 9), 100, 1, dtype=f32), "16-bit floats"),
        (lambda: Layer((4, 136, 9, 9), 100, 1, rows=True), "lie equally far apart"),
        (lambda: Layer((1, 136, 9, 9), 100, 1), "too small"),
    ],
)
def test_what_is_refused(layer: Any, why: str) -> None:
    made = layer()
    assert why in str(TACTIC.offers(made.case.kernel(made.finish())))


def test_rows_that_begin_anywhere_are_refused() -> None:
    _, kernel, _ = product(f16, (300, 132), (132, 200))
    assert "multiples of 16 bytes" in str(TACTIC.offers(kernel))


@pytest.mark.parametrize("changes", [{}, {"bm": 128, "bn": 192, "warps": 8, "blocks": 132}])
def test_compiles(changes: Any) -> None:
    case, kernel, _ = product(bf16, (1024, 768), (768, 3072))
    offers = TACTIC.offers(kernel)
    assert offers, offers
    config = {**offers[0], **changes}
    code = TACTIC.build(kernel, config)
    assert [tensor.rows for tensor in code.tensors] == [1024, *[3072] * (len(code.tensors) - 1)]
    assert isinstance(case, TritonCase)
    cubin = case.compile(TACTIC, kernel, config)
    assert cubin.shared_bytes <= H100.l1_bytes
