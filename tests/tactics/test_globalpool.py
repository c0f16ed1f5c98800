"""Global pooling against float64 NumPy: blocked to blocked and to rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.ops.reduce import Reduce
from planck.tactics.globalpool import GlobalPooling


@pytest.mark.parametrize("shape", [(1, 37, 7, 9), (3, 16, 1, 3), (7, 5, 12)], ids=str)
@pytest.mark.parametrize("kind", ["mean", "max", "sum"])
@pytest.mark.parametrize("block", [True, False])
def test_matches_float64(case: Any, shape: Any, kind: str, block: bool) -> None:
    x = case.input(*shape, block=True)
    axes = tuple(range(2, len(shape)))
    want = getattr(case.arrays["v0"].astype(np.float64), kind)(axis=axes, keepdims=True)
    y = case.node(Reduce(kind, axes, True), [x], want.shape, block=block)
    z = case.pointwise("add", y, case.constant(1, shape[1], *[1] * len(axes)))
    want = want + case.arrays["v1"]
    tactic, kernel = GlobalPooling(), case.kernel(z)
    (config,) = tactic.offers(kernel)
    got = case.run(tactic, kernel, config)[z.name]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
