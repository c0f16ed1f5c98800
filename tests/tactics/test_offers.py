"""What tactics refuse: a kernel whose memory they cannot read must not be offered a config."""

from __future__ import annotations

import numpy as np
import pytest

import planck
from planck.dtypes import f32
from planck.ir.graph import Graph, Node, Value
from planck.ir.interpret import interpret
from planck.ir.types import TensorType
from planck.ops.nn import Pool


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("pad", [0, 2])
def test_pool_between_rows(kind: str, pad: int) -> None:
    """A network that is one pool: its input and its output lie in rows, not in blocks."""
    op = Pool(kind, (3, 3), (1, 1), (pad,) * 4, (1, 1), include_pad=True)
    kinds = TensorType((1, 3, 11, 13), f32)
    x, y = Value("x", kinds), Value("y", op.infer(kinds)[0])
    graph = Graph("pool", (x,), (Node(op, (x,), (y,)),), (y,))
    given = np.random.default_rng(0).standard_normal(kinds.dims).astype(np.float32)
    engine = planck.build(graph, optimization_level=0, threads=1)
    (want,) = interpret(graph, {"x": given}).values()
    np.testing.assert_allclose(engine(given)["y"], want, rtol=1e-5, atol=1e-6)
