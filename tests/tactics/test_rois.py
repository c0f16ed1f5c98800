"""RoiAlign on the CPU against its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planck.dtypes import Array
from planck.ops.nn import RoiAlign
from planck.refusal import No
from planck.tactics.rois import Regions
from planck.target import Target, host
from tests.loops.running import Maker, kernel, reblock
from tests.tactics.conftest import run_kernel


def arrays(channels: int, height: int = 9, width: int = 13, seed: int = 0) -> dict[str, Array]:
    """Regions within the image, across its borders, beyond them, turned round and without area."""
    rng = np.random.default_rng(seed)
    begins = rng.uniform(-9, 22, (8, 2))
    regions = np.concatenate([begins, begins + rng.uniform(-3, 30, (8, 2))], 1)
    regions[6] = [4, 4, 4, 4]
    regions[7] = [900, 900, 990, 990]
    return {
        "x": rng.standard_normal((2, channels, height, width)).astype(np.float32),
        "r": regions.astype(np.float32),
        "i": rng.integers(0, 2, 8),
    }


def check(
    op: RoiAlign, given: dict[str, Array], target: Target, threads: int = 1, block: int = 0,
    gaps: Any = None,
) -> None:  # fmt: skip
    m = Maker(**given)
    m(op, *m.inputs.values())
    graph = reblock(m.graph(*m.nodes[0].outputs), {"x": block})
    work = kernel(graph, target, threads, gaps)
    assert Regions().offers(work) == ({},)
    found = run_kernel(work, Regions(), {}, given)["t0_0"]
    np.testing.assert_allclose(found, op.reference(*given.values())[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("sampling", [0, 1, 3])
@pytest.mark.parametrize("blocked", [False, True])
def test_bins(blocked: bool, sampling: int, offset: float, target: Target) -> None:
    op = RoiAlign("avg", 3, 5, sampling, 0.5, offset)
    check(op, arrays(19), target, block=target.lanes if blocked else 0)


@pytest.mark.parametrize("channels", [1, 3, 16, 33])
@pytest.mark.parametrize("threads", [1, 5])
def test_channels(threads: int, channels: int) -> None:
    here = host()
    for block in (0, here.lanes):
        check(RoiAlign("avg", 2, 2, 2, 0.25, 0.5), arrays(channels), here, threads, block)


def test_many_samples() -> None:
    """A bin of more samples than a line has pixels, and one with hundreds of pixels."""
    check(RoiAlign("avg", 1, 2, 37, 0.1, 0.5), arrays(3), host())
    check(RoiAlign("avg", 1, 1, 0, 9.0, 0.0), arrays(3, 2, 290), host())


def test_views() -> None:
    given = arrays(5)
    check(RoiAlign("avg", 3, 2, 2, 0.5, 0.5), given, host(), gaps={"x": 7, "r": 3, "t0_0": 9})


def test_numbers_that_are_no_place() -> None:
    given = arrays(3)
    far, big = np.inf, 1e30
    given["r"][:3] = [[np.nan, 0, 1, 1], [0, far, 1, 1], [0, 0, far, 1]]
    given["r"][3:6] = [[-far, 0, far, 9], [big, 0, -big, 5], [0, 0, big, big]]
    given["i"][:] = [0, 1, 2**40, -(2**63), 5, 0, 0, 0]
    for sampling, offset in ((0, 0.0), (0, 0.5), (2, 0.5)):
        m = Maker(**given)
        m(RoiAlign("avg", 3, 2, sampling, 0.5, offset), *m.inputs.values())
        run_kernel(kernel(m.graph(*m.nodes[0].outputs), host()), Regions(), {}, given)


@pytest.mark.parametrize(
    ("mode", "dtype", "bins", "why"),
    [("max", "f4", 2, "largest"), ("avg", "f8", 2, "f32"), ("avg", "f4", 0, "nothing")],
)
def test_refusals(mode: str, dtype: str, bins: int, why: str) -> None:
    given = arrays(3)
    if not bins:
        given = {**given, "r": given["r"][:0], "i": given["i"][:0]}
    m = Maker(**{n: a if n == "i" else a.astype(dtype) for n, a in given.items()})
    m(RoiAlign(mode, 2, 2, 0, 0.5, 0.5), *m.inputs.values())
    refusal = Regions().offers(kernel(m.graph(*m.nodes[0].outputs), host()))
    assert isinstance(refusal, No)
    assert why in refusal.reason


def test_blocks_of_another_target() -> None:
    m = Maker(**arrays(3))
    m(RoiAlign("avg", 2, 2, 0, 0.5, 0.5), *m.inputs.values())
    refusal = Regions().offers(kernel(reblock(m.graph(*m.nodes[0].outputs), {"x": 24}), host()))
    assert isinstance(refusal, No)
    assert "blocks of 24" in refusal.reason
