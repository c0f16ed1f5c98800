"""Models that end a few nodes behind NonMaxSuppression, as exporters write them."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
import onnx.parser

from planck.dtypes import Array
from tests.boxes import random_boxes

# Most boxes of a class, overlap, lowest score: some, all, one of each class, none.
HELD: Final = (("4", "0.4", "0.85"), ("20", "1", "-1"), ("1", "0.5", "0.5"), ("4", "0.4", "1"))

# YOLO's: columns of what is chosen index boxes and scores, all side by side.
TABLE: Final = """
    at = Gather <axis = 1> (chosen, image_and_box)
    box = GatherND (boxes, at)
    score = GatherND (scores, chosen)
    column = Unsqueeze (score, last)
    image, class = Split <axis = 1> (kinds, ones)
    imagef = Cast <to = 1> (image)
    classf = Cast <to = 1> (class)
    found = Concat <axis = -1> (imagef, box, classf, column)
"""
KINDS: Final = "kinds = Slice (chosen, zero, two, one)"

# Outputs, and nodes behind `chosen`.
BODIES: Final[dict[str, tuple[str, str]]] = {
    "yolo": ("float[n, 7] found", KINDS + TABLE),
    "yolo, what is chosen given as well": (
        "float[n, 7] found, int64[n, 3] chosen, int64[n, 3] same",
        "same = Identity (chosen)" + KINDS + TABLE,
    ),
    "a picture's": (
        "float[1, n, 7] batch, float[7, n] turned",
        KINDS + TABLE + "batch = Unsqueeze (found, zero) turned = Transpose (found)",
    ),
    "torchvision": (
        "float[n, 4] box, float[n] best, int64[n] label, int64[n] at",
        """
        at2 = Gather <axis = 1> (chosen, two)
        width_of = Shape (at2)
        width = Gather (width_of, one)
        single = Equal (width, one)
        at = If (single) <then_branch = t () => (int64[m] a) {a = Squeeze (at2, one)},
                          else_branch = e () => (int64[m, 3] b) {b = Identity (at2)}>
        all = Reshape (boxes, fours)
        box = Gather <axis = 0> (all, at)
        tall = Transpose <perm = [0, 2, 1]> (scores)
        each = Reshape (tall, kinds_last)
        mine = Gather (each, at)
        best = ReduceMax <axes = [1], keepdims = 0> (mine)
        label = ArgMax <axis = 1, keepdims = 0> (mine)
        """,
    ),
    "torch's indexing": (
        "float[n, 1, 4] box, float[n, 4] flat",
        """
        x = Gather <axis = 1> (chosen, zero)
        y = Gather <axis = 1> (chosen, two)
        shape = Shape (boxes)
        extent = Gather (shape, one)
        first = Mul (x, extent)
        at = Add (first, y)
        all = Reshape (boxes, fours)
        picked = Gather (all, at)
        rows = Shape (at)
        four = Slice (shape, two, three)
        to = Concat <axis = 0> (rows, four)
        box = Reshape (picked, to)
        count = Gather <axis = 0> (rows, zero)
        flat_to = Concat <axis = 0> (count, four)
        flat = Reshape (box, flat_to)
        """,
    ),
    "arithmetic": (
        "float[n, 2] size, float[n, 4] soft, bool[n] wide",
        """
        at = Gather <axis = 1> (chosen, image_and_box)
        box = GatherND (boxes, at)
        low, high = Split <axis = 1> (box, pairs)
        size = Sub (high, low)
        soft = Softmax <axis = 1> (box)
        sides = Abs (size)
        area = ReduceProd <axes = [1], keepdims = 0> (sides)
        wide = Greater (area, half)
        """,
    ),
    "made of their number": (
        "float[n, 4] box, int64[n, 1] zeros, int64[n, 4] table, int64[n, 1] same",
        """
        x = Gather <axis = 1> (chosen, zero)
        shape = Shape (x)
        zeros = ConstantOfShape <value = int64[1] {0}> (shape)
        at = Concat <axis = 1> (zeros, x)
        box = GatherND (boxes, at)
        table = Concat <axis = 1> (zeros, chosen)
        once = Add (zeros, one)
        same = Mul (once, two)
        """,
    ),
    "the first few": (
        "float[n, 4] box, float[n] score",
        """
        few = Slice (chosen, zero, three, zero)
        at = Gather <axis = 1> (few, image_and_box)
        box = GatherND (boxes, at)
        first_few = Slice (chosen, zero, three, zero)
        area = ReduceSum <keepdims = 0> (box, one)
        own = GatherND (scores, first_few)
        score = Mul (own, area)
        """,
    ),
    "two": (
        "float[n, 4] box, float[m, 4] other_box",
        """
        at = Gather <axis = 1> (chosen, image_and_box)
        box = GatherND (boxes, at)
        others = NonMaxSuppression (boxes, scores, two, half, half)
        other_at = Gather <axis = 1> (others, image_and_box)
        other_box = GatherND (boxes, other_at)
        """,
    ),
}

# Nodes that would have to know the rows, and what the error says of them.
REFUSED: Final[dict[str, str]] = {
    "y = ReduceMax <axes = [0]> (chosen)": "it reduces their axis",
    "y = ReduceMax (chosen)": "it reduces their axis",
    "v, y = TopK <axis = 0> (chosen, two)": "it goes along their axis",
    "y = Gather (chosen, zero)": "it chooses among them",
    "y = Slice (chosen, one, three, zero)": "it takes others than the first few",
    "y = Slice (chosen, zero, one, zero)": "it takes others than the first few",
    "y = Slice (chosen, zero, last, zero)": "it counts them from the last",
    "y = Slice (chosen, last, ends, zero)": "it counts them from the last",
    "y = Slice (chosen, last, begin, zero, last)": "it takes others than the first few",
    "y, z = Split <axis = 0> (chosen, halves)": "it takes others than the first few",
    "y = Slice (chosen, zero, three, zero) z = Add (y, chosen)": "it reads rows of two counts",
    "y = Reshape (chosen, fours)": "leaves them no axis of their own",
    "f = Flatten <axis = 0> (chosen) y = Abs (f)": "leaves them no axis of their own",
    "y = Reshape (chosen, literal)": "is right for one number of them alone",
    "y = Concat <axis = 0> (chosen, chosen)": "it goes along their axis",
    "y = Concat <axis = 1> (chosen, plain)": "it joins them with something else",
    "y = Add (chosen, plain)": "it joins them with something else along their axis",
    "c = Gather <axis = 1> (chosen, zero) t = Transpose (c) y = Add (c, t)":
        "it joins them with something else along their axis",
    "o = NonMaxSuppression (boxes, scores, most, half, half) y = Add (o, chosen)":
        "it reads rows of two counts",
    "s = Shape (chosen) t = Add (s, s) y = ConstantOfShape (t)": "has no axis of as many elements",
    "y = NonZero (chosen)": "NonZero may need to know all of them",
    "y = Size (chosen)": "Size may need to know all of them",
    "y = Shape (chosen)": "output 'y' of chosen is their number",
    "s = Shape (chosen) n = Gather (s, zero) y = Greater (n, two)": "it computes with their number",
    "s = Shape (chosen) y = Reshape (plain, s)": "it takes a shape from the number of others",
    "q = Greater (some, half) y = If (q) <then_branch = t () => (int64[n, 3] a)"
    " {a = Identity (chosen)}, else_branch = e () => (int64[n, 3] b) {b = Abs (chosen)}>":
        "it stands in a body that only a run chooses or repeats",
}  # fmt: skip


def given(body: str, classes: int = 3) -> dict[str, Array]:
    """Inputs of a body's model."""
    return random_boxes(_images(body), classes, 20) | {"some": np.array(0, np.float32)}


def _images(body: str) -> int:
    return 1 if "each" in body else 2


def model(
    outputs: str, body: str, held: tuple[str, str, str] = HELD[0], classes: int = 3
) -> onnx.ModelProto:
    """Boxes and scores of which NonMaxSuppression makes `chosen`, and nodes behind it."""
    (most, overlap, lowest), images = held, _images(body)
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 13]>
    chosen (float[{images}, 20, 4] boxes, float[{images}, {classes}, 20] scores, float some)
    => ({outputs})
    <int64[1] most = {{{most}}}, float[1] overlap = {{{overlap}}}, float[1] lowest = {{{lowest}}},
     int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
     int64[1] last = {{-1}}, int64[2] image_and_box = {{0, 2}}, int64[2] ones = {{1, 1}},
     int64[2] pairs = {{2, 2}}, int64[2] fours = {{-1, 4}}, int64[2] kinds_last = {{-1, {classes}}},
     int64[1] ends = {{1000}}, int64[1] begin = {{-1000}}, int64[2] halves = {{12, 12}},
     int64[2] literal = {{24, 3}}, float[1] half = {{0.5}},
     int64[24, 3] plain = {{{", ".join("1" * 72)}}}>
    {{ chosen = NonMaxSuppression (boxes, scores, most, overlap, lowest) {body} }}
    """)
