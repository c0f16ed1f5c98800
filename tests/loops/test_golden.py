"""The code of three kernels, kept as files: a change of the generator shows as a change of them.

`pytest --update-golden` writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planck.codegen.llvm import compile_object
from planck.ir.graph import Graph
from planck.ops import nn
from planck.ops.movement import Transpose
from planck.ops.pointwise import Pointwise
from planck.tactics.loops import Loops
from planck.target import Target
from tests.loops.running import Maker, kernel, reblock

FOLDER = Path(__file__).parent / "golden"


def biased_relu() -> Graph:
    m = Maker(x=np.zeros((1, 20, 6, 6), np.float32), b=np.zeros((20, 1, 1), np.float32))
    y = m(Pointwise("relu"), m(Pointwise("add"), m["x"], m["b"]))
    return reblock(m.graph(y), {"x": 16, y.name: 16})


def softmax() -> Graph:
    m = Maker(x=np.zeros((12, 77), np.float32))
    return m.graph(m(nn.Softmax(-1), m["x"]))


def transpose() -> Graph:
    m = Maker(x=np.zeros((2, 24, 40), np.float32))
    return m.graph(m(Transpose((0, 2, 1)), m["x"]))


@pytest.mark.parametrize(
    ("make", "isa"), [(biased_relu, "avx512"), (softmax, "avx2"), (transpose, "portable")]
)
def test_code_is_as_it_was(make: Callable[[], Graph], isa: str, update_golden: bool) -> None:
    target = Target(isa)
    code = Loops().build(kernel(make(), target, threads=4), {})
    text = code.llvm.replace(code.symbol, "kernel") + "\n"
    path = FOLDER / f"{make.__name__}_{isa}.ll"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), "see pytest --update-golden"
    assert compile_object(target, text, code.level)
