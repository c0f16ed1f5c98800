"""Operators that have no body: the largest k, scattering, boxes, regions, determinants, bits.

On a GPU a step in NumPy ends one graph, copies what it reads to the host and begins another.

Notebook (H100 unless it says H200; NumPy's time is that of its reference alone, on the host)

- The first version compared packed 64-bit keys, and reduced counts tile by tile: the 100 largest of
  8400 took 37 us (NumPy 1147), 300 of 25200 416 us (2587), 50 of 50257 1411 us (5484), 5 of 1000 in
  a batch of 8 6.9 us; 100 of 8400 i64 68.5 us. Predicted of one 32-bit comparison a pair, counted
  for each lane: a third. Found, on an H200: 15.3, 140, 502, 4.2 and 15.4 us.
- Scattering elements that each look through all updates: 1000 tuples into 25200x8 315 us (NumPy
  159), with sums 186 us (358), 25200 rows of 4 1397 us (676). Slices that look once, predicted: an
  eighth and a quarter. Found, on an H200: 9.1 us and 176 us; sums, with a register for each lane's,
  75 us. 64000 updates added along an axis of 1000: 73 us.
- Non-maximum suppression, on an H200: 80 classes of 8400 boxes, of which 296 stay, 53 us (NumPy 5.7
  ms); of 25200, 2245 of them, 169 us (37 ms); eight images of 8400 175 us (45 ms); 8000 that all
  beat the lowest score 2.6 ms (3000). 300 rounds of one class whose 8400 boxes all do are alone in
  one block: 8.0 ms (158), 27 us a round.
- Its blocks had 4 warps then. With 32, on an H100: of 25200 boxes, 18948 above the lowest, 300
  kept, 3.9 ms (4 warps 13.7); eight images of 8400 1.4 (5.2); 18837 boxes of 100 objects, 93 kept,
  1.3 (4.4); 80 classes of 8400, 8000 kept, 194 us (298); 300 boxes 322 us (284).
- Selecting before comparing (`select.py`), on an H100, of the same boxes: 142 us, 120, 4.2 ms, 50
  us, 40 us. Since then all that are selected are compared with what stays at once, not 64 at a
  time, and nothing divides zero (predicted: a third of the 4.2 ms). Found, with 16 warps: 81 us,
  129, 3.1 ms, 52 us, 39 us; with 8 and with 32 all take longer. That the list is thinned where most
  of those selected fall (predicted of the 3.1 ms: 400 us) leaves 614 us; ten objects 169 us, 8400
  equal boxes 68, 80 classes that YOLO gives 103. Rounds, each of which takes out of the list what
  overlaps the best, took 3.2 ms, 1.2, 1.1 ms, 418 us, 226 us; 148 us, 22 and 46.
- So rounds come first while half of the list overlaps the best box, which costs 6 us of the 81
  where nothing does (predicted 2). On an H200, of YOLO's 80 classes predicted 50 to 55 us, found
  61; equal boxes 27 (39). What was left was not code that is not in the cache (no instruction: 1 %
  of the stalls), but the last block's rows: it wrote 24000 of -1 alone, three numbers of a row
  apart. Each block writes its share, and the last one only rows that there are (predicted 30 us):
  14.8 us, equal boxes 28; 8000 rows of 80 classes take 67, not 55. Rounds alone, with that: 16.4
  and 22, so they went. A block's tiles of 1024 boxes, not 4096: 28 us (39) of equal boxes, nothing
  else changed.
- Those selected are compared with what stays at once wherever that may spare three times 64
  comparisons one after the other: 555 us instead of 600 (100 objects), 154 of 173 (ten). Whenever
  half of 64 fell, 300 boxes of 300 took 66 us instead of 41.
- The same of the largest: 300 of 25200 37 us (138), of 100000 107 us (1927), of 8400 18.5 (16.3),
  with slots counted by cumulative sums, which are the same in all 16 blocks of a row that order a
  part each. Slots counted by atomics: 26.6 and 51.5 us, but each block has others, and some
  elements were nobody's. So one block orders all (predicted: 4 us more): 24 and 55 us, of a million
  394 us, of eight rows of 25200 27 us (996). All of 25200 in parts of about 512, whose limits are
  the same in all blocks, 71 us (138), of 100000 221 us (1927), 1000 of 25200 44 us (140); all of
  8400 47 us, where comparing takes 15; 2000 of a million 4.6 ms, as each part looks at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from planck.codegen.triton import bits, boxes, linalg, rois, scatter, sorted_boxes, topk
from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.operand import Tensor
from planck.codegen.triton.scalar import supported
from planck.codegen.triton.text import power_of_two
from planck.dtypes import Array, bool_
from planck.ir.graph import Node, Op
from planck.ops.linalg import Det
from planck.ops.movement import ScatterElements, ScatterND, TopK
from planck.ops.nn import NonMaxSuppression, RoiAlign
from planck.ops.pointwise import BitCast
from planck.ops.shapes import axis_of
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.pattern import symbol
from planck.tactics.triton.operands import REACH, dependent
from planck.tactics.triton.tiles import cores_of

COMPARISONS: Final = 1 << 36  # that a kernel may make
QUICK_COMPARISONS: Final = 1 << 27  # that take no longer than a selection
LOOKS: Final = 1 << 34  # at an element, by all parts of its row: 0.1 s
PAIRS: Final = 1 << 13  # images and classes, whose numbers of boxes one block adds up
SPACE_BYTES: Final = 1 << 30  # of a selection, or a list of boxes
SELECTED_OF: Final = 512  # elements at least
MOST_SELECTED: Final = 1024  # at once
ROWS: Final = (64, 32, 16, 8)  # elements of a block that look for their places


class Single:
    """One operator, one kernel."""

    name = "triton_single"

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        node = kernel.graph.nodes[0]
        if len(kernel.graph.nodes) != 1 or type(node.op) not in _WRITERS:
            return No("not one operator without a body")
        refusal = _unreadable(kernel) or _unfit(node)
        if refusal:
            return No(refusal)
        offers = _OFFERS.get(type(node.op))
        return offers(kernel) if offers else ({},)

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        node = kernel.graph.nodes[0]
        write, prefix = _WRITERS[type(node.op)]
        tensors = [_tensor(kernel, v.name) for v in (*node.inputs, *node.outputs)]
        return write(symbol(prefix, kernel, config), node.op, tensors, dependent(kernel), config)

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return dict(constants)


def _tensor(kernel: Kernel, name: str) -> Tensor:
    operand = kernel.operands[name]
    type_ = operand.type
    return Tensor(name, type_.dims, operand.strides, type_.dtype, operand.aligned)


def _unreadable(kernel: Kernel) -> str:
    """Why an operand cannot be read or written; "" if all can."""
    for value in (*kernel.graph.inputs, *kernel.graph.outputs):
        if value.type.block:
            return f"%{value.name} lies in blocks"
        if not supported(value.type.dtype):
            return f"%{value.name} is {value.type.dtype}"
        strides = kernel.operands[value.name].strides
        if sum((n - 1) * s for n, s in zip(value.type.dims, strides, strict=True)) >= REACH:
            return f"%{value.name} reaches over 2^31 elements"
    return ""


def _unfit(node: Node) -> str:
    """Why an operator is not for these kernels; "" if it is."""
    op, x = node.op, node.inputs[0].type
    comparisons = 0
    if isinstance(op, TopK):
        if not x.size * op.k:
            return "there is nothing to choose"
        comparisons = 0 if _selections(node) else x.size * _along(node)[0]
    elif isinstance(op, ScatterElements | ScatterND):
        indices = node.inputs[1].type.dims
        if op.reduction != "none" and (x.dtype is bool_ or x.dtype.bits < 8):
            return f"{x.dtype} is not combined"
        if isinstance(op, ScatterND):
            if not indices[-1]:
                return "the tuples are empty"
            whole = op.reduction == "none"  # slices are compared, otherwise elements
            each = math.prod(x.dims[: indices[-1]]) if whole else x.size
            comparisons = each * math.prod(indices[:-1])
        else:
            comparisons = x.size * indices[axis_of("ScatterElements", op.axis, x.rank)]
    elif isinstance(op, NonMaxSuppression):
        return _unfit_boxes(op, node)
    elif isinstance(op, Det) and not 1 <= x.dims[-1] <= linalg.LARGEST:
        return f"a matrix of {x.dims[-1]} rows"
    return f"{comparisons} comparisons are too many" if comparisons > COMPARISONS else ""


def _unfit_boxes(op: NonMaxSuppression, node: Node) -> str:
    images, classes, number = node.inputs[1].type.dims
    pairs, most = images * classes, min(op.most, number)
    if not pairs * most:
        return "there are no boxes"
    if pairs > PAIRS or 8 * sorted_boxes.workspace(pairs, number, most) > SPACE_BYTES:
        return f"{pairs} images and classes of {number} boxes are too many"
    return ""


def _top_k_offers(kernel: Kernel) -> tuple[Config, ...]:
    """Comparing all, by blocks as large as leaves two for each core; selections, of many first."""
    cores = cores_of(kernel.target)
    (node,), size = kernel.graph.nodes, kernel.graph.inputs[0].type.size
    rows = sorted(ROWS, key=lambda rows: max(2 * cores - size // rows, 0))
    ways = tuple({"rows": r, "warps": w} for r, w in ((rows[0], 4), (rows[1], 4), (rows[0], 8)))
    few, comparisons = _selections(node), size * _along(node)[0]
    if not few or comparisons <= QUICK_COMPARISONS:
        return (*ways, *few)
    return (*few, *ways[:2]) if comparisons <= COMPARISONS else few


def _along(node: Node) -> tuple[int, int]:
    """Along the axis of a TopK: all elements, and those taken."""
    assert isinstance(node.op, TopK)
    dims = node.inputs[0].type.dims
    return dims[axis_of("TopK", node.op.axis, len(dims))], node.op.k


def _selections(node: Node) -> tuple[Config, ...]:
    """How a TopK can select: the first k at once, or all in parts. Not few, nor large keys."""
    x, (n, k) = node.inputs[0].type, _along(node)
    if n < SELECTED_OF or x.dtype.bits > 32:
        return ()
    most = power_of_two(max(k + k // 2, MOST_SELECTED // 4))
    ways: list[Config]
    if most <= MOST_SELECTED and 2 * most <= n:
        ways = [{"most": most, "parts": 1, "warps": warps} for warps in (32, 16)]
    else:
        sizes = MOST_SELECTED // 2, MOST_SELECTED
        ways = [{"most": m, "parts": -(-2 * n // m), "warps": 16} for m in sizes]
    return tuple(
        own
        for own in ways
        if x.size * own["parts"] <= LOOKS
        and 8 * topk.workspace(x.size // n * own["parts"], own["most"]) <= SPACE_BYTES
    )


def _boxes_offers(kernel: Kernel) -> tuple[Config, ...]:
    return ({"warps": 16},)


def _top_k(
    name: str, op: Any, tensors: list[Tensor], dependent: bool, config: Config
) -> TritonCode:
    x, values, places = tensors
    axis, warps = axis_of("TopK", op.axis, len(x.dims)), config["warps"]
    given = name, x, values, places, axis, op.largest, warps, dependent
    if "most" in config:
        return topk.write_selected(topk.SelectedTopK(*given, config["most"], config["parts"]))
    return topk.write(topk.ComparedTopK(*given, config["rows"]))


def _scatter(
    name: str, op: Any, tensors: list[Tensor], dependent: bool, config: Config
) -> TritonCode:
    x, indices, updates, out = tensors
    axis = None
    if isinstance(op, ScatterElements):
        axis = axis_of("ScatterElements", op.axis, len(x.dims))
    elif len(indices.dims) == 1:  # one tuple
        indices, updates = _among_one(indices), _among_one(updates)
    return scatter.write(
        scatter.Scatter(name, x, indices, updates, out, axis, op.reduction, dependent)
    )


def _roi_align(
    name: str, op: Any, tensors: list[Tensor], dependent: bool, config: Config
) -> TritonCode:
    x, regions, images, out = tensors
    how = op.mode, op.sampling, op.scale, op.offset
    return rois.write(rois.RoiAlign(name, x, regions, images, out, *how, dependent))


def _non_max_suppression(
    name: str, op: Any, tensors: list[Tensor], dependent: bool, config: Config
) -> TritonCode:
    given, scores, rows, count = tensors
    most = min(op.most, scores.dims[2])
    how = most, op.overlap, op.lowest, op.centred
    own = boxes.NonMaxSuppression(name, given, scores, rows, _among_one(count), *how, dependent)
    return sorted_boxes.write(own, config["warps"])


def _bit_cast(
    name: str, op: Any, tensors: list[Tensor], dependent: bool, config: Config
) -> TritonCode:
    x, out = (t if t.dims else _among_one(t) for t in tensors)
    return bits.write(bits.BitCast(name, x, out, dependent))


def _det(name: str, op: Any, tensors: list[Tensor], dependent: bool, config: Config) -> TritonCode:
    x, out = tensors if tensors[1].dims else map(_among_one, tensors)
    return linalg.write(linalg.Det(name, x, out, dependent))


def _among_one(tensor: Tensor) -> Tensor:
    """The same with an axis of one in front."""
    return replace(tensor, dims=(1, *tensor.dims), strides=(tensor.size, *tensor.strides))


_WRITERS: Final[Mapping[type[Op], tuple[Callable[..., TritonCode], str]]] = {
    TopK: (_top_k, "top_k"),
    ScatterElements: (_scatter, "scatter"),
    ScatterND: (_scatter, "scatter"),
    RoiAlign: (_roi_align, "roi_align"),
    NonMaxSuppression: (_non_max_suppression, "non_max_suppression"),
    BitCast: (_bit_cast, "bit_cast"),
    Det: (_det, "det"),
}
_OFFERS: Final[Mapping[type[Op], Callable[[Kernel], tuple[Config, ...]]]] = {
    TopK: _top_k_offers,
    NonMaxSuppression: _boxes_offers,
}
