"""Non-maximum suppression on the CPU against its reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planck.ops.nn import NonMaxSuppression
from planck.refusal import No
from planck.tactics.boxes import Suppression
from planck.tactics.kernel import Operand
from planck.target import Target
from tests.boxes import odd_boxes, random_boxes
from tests.loops.running import Maker, kernel
from tests.tactics.conftest import run_kernel

CASES = {
    "corners": (NonMaxSuppression(7, 0.3, 0.2), random_boxes(2, 3, 37)),
    "centred": (NonMaxSuppression(7, 0.3, 0.2, True), random_boxes(2, 3, 37)),
    "all": (NonMaxSuppression(500, 1.0), random_boxes(1, 1, 37)),
    "none": (NonMaxSuppression(5, 0.5, 1.0), random_boxes(1, 2, 3)),
    "one": (NonMaxSuppression(1, 0.5, 0.9), random_boxes(5, 1, 1)),
    "odd": (NonMaxSuppression(9, 0.0, 0.5), odd_boxes(2, 301)),
}


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_same_rows(name: str, view: bool, target: Target) -> None:
    """Of boxes and scores in rows, or as columns of what a network's head makes."""
    op, arrays = CASES[name]
    m = Maker(**arrays)
    m(op, *m.inputs.values())
    work = kernel(m.graph(*m.nodes[-1].outputs), target)
    if view:
        boxes, scores = (work.operands[name].type for name in arrays)
        _, classes, number = scores.dims
        wide = classes + 5
        views = {
            "boxes": Operand(boxes, (number * wide, wide, 1)),
            "scores": Operand(scores, (number * wide, 1, wide)),
        }
        work = replace(work, operands={**work.operands, **views})
    assert Suppression().offers(work) == ({},)
    found = run_kernel(work, Suppression(), {}, arrays)
    rows, count = op.reference(*arrays.values())
    np.testing.assert_array_equal(found["t0_0"], rows)
    assert found["t0_1"] == count


@pytest.mark.parametrize(
    ("most", "dtype", "gap", "why"),
    [(0, np.float32, 0, "no boxes"), (3, np.float16, 0, "f32"), (3, np.float32, 1, "gaps")],
)
def test_refusals(most: int, dtype: Any, gap: int, why: str, target: Target) -> None:
    m = Maker(**{name: array.astype(dtype) for name, array in random_boxes(2, 2, 5).items()})
    m(NonMaxSuppression(most, 0.5), *m.inputs.values())
    refusal = Suppression().offers(kernel(m.graph(*m.nodes[0].outputs), target, gaps={"t0_0": gap}))
    assert isinstance(refusal, No)
    assert why in refusal.reason
