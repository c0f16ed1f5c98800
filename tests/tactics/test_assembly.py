"""The loops that matter keep their accumulators in registers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from planck.codegen.llvm import assembly
from planck.ops.nn import Conv, MatMul
from planck.tactics.depth_first import FusedDepthwise
from planck.tactics.direct import Direct
from planck.tactics.matmul import Multiply
from planck.tactics.sliding import Grouped

FMA = re.compile(r"\s+vfmadd\w+ps\b")
SPILL = re.compile(r"\b[xyz]mm\d+.*\(%rsp\)|\(%rsp\).*[xyz]mm\d+")


def hot_blocks(text: str) -> list[list[str]]:
    """Basic blocks that jump to themselves, and multiply and add more than anything else would."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith((".LBB", "# %bb")):
            blocks.append([])
        blocks[-1].append(line)
    return [
        block
        for block in blocks
        if sum(bool(FMA.match(line)) for line in block) >= 24
        and any(re.search(rf"\sj\w+\s+{re.escape(block[0].split(':')[0])}$", x) for x in block)
    ]


def check(case: Any, tactic: Any, kernel: Any) -> None:
    for config in tactic.offers(kernel):
        code = tactic.build(kernel, config)
        blocks = hot_blocks(assembly(case.target, code.llvm, code.level))
        assert blocks, config
        for block in blocks:
            spills = [line for line in block if SPILL.search(line)]
            assert not spills, f"{config}: {spills[0]}"


@pytest.mark.parametrize(("size", "kernel", "pad"), [(28, 3, 1), (14, 1, 0), (7, 3, 1)])
def test_convolution(case: Any, size: int, kernel: int, pad: int) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no fused multiply-add to look for")
    x = case.input(1, 64, size, size, block=True)
    w = case.constant(96, 64, kernel, kernel)
    shape = (1, 96, size, size)
    y = case.node(Conv((1, 1), (pad,) * 4, (1, 1), 1), [x, w], shape, block=True)
    check(case, Direct(), case.kernel(case.pointwise("relu", y)))


def test_small_groups(case: Any) -> None:
    if case.target.isa != "avx512":
        pytest.skip("has no vector of more than eight channels")
    x = case.input(1, 32, 28, 28, block=True)
    op = Conv((1, 1), (1,) * 4, (1, 1), 4)
    y = case.node(op, [x, case.constant(32, 8, 3, 3)], (1, 32, 28, 28), block=True)
    check(case, Grouped(), case.kernel(case.pointwise("relu", y)))


def test_depth_first(case: Any) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no fused multiply-add to look for")
    x = case.input(1, 32, 28, 28, block=True)
    wide, plain = (1, 96, 28, 28), Conv((1, 1), (0,) * 4, (1, 1), 1)
    y = case.node(plain, [x, case.constant(96, 32, 1, 1)], wide)
    y = case.pointwise("relu", y)
    slide = Conv((1, 1), (1,) * 4, (1, 1), 96)
    y = case.node(slide, [y, case.constant(96, 1, 3, 3)], wide)
    y = case.pointwise("relu", y)
    y = case.node(plain, [y, case.constant(32, 96, 1, 1)], (1, 32, 28, 28), block=True)
    check(case, FusedDepthwise(), case.kernel(y))


def test_matmul(case: Any) -> None:
    if case.target.isa == "portable":
        pytest.skip("has no fused multiply-add to look for")
    a, b = case.input(64, 64), case.input(64, 96)
    check(case, Multiply(), case.kernel(case.node(MatMul(), [a, b], (64, 96))))


@pytest.mark.parametrize(("size", "fetches"), [(7, True), (96, False)])
def test_small_images_fetch_the_next_weights(case: Any, size: int, fetches: bool) -> None:
    """Many tiles reuse a panel: what the first of them loads serves the rest."""
    if case.target.isa != "avx512":
        pytest.skip("tile counts differ")
    x, w = case.input(1, 64, size, size, block=True), case.constant(96, 64, 3, 3)
    y = case.node(Conv((1, 1), (1,) * 4, (1, 1), 1), [x, w], (1, 96, size, size), block=True)
    kernel = case.kernel(y)
    code = Direct().build(kernel, Direct().offers(kernel)[0])
    assert ("prefetcht1" in assembly(case.target, code.llvm, code.level)) == fetches


@pytest.mark.parametrize(("rows", "fetches"), [(1, {False}), (5, {False, True}), (300, {True})])
def test_products_fetch_the_next_weights(case: Any, rows: int, fetches: set[bool]) -> None:
    """Beside few rows it may cost, which the tuner is to find out; for one row it always did."""
    if case.target.isa != "avx512":
        pytest.skip("one target is enough")
    a, b = case.input(rows, 256), case.constant(256, 512)
    kernel = case.kernel(case.node(MatMul(), [a, b], (rows, 512)))
    found = set()
    for config in Multiply().offers(kernel):
        code = Multiply().build(kernel, config)
        text = assembly(case.target, code.llvm, code.level)
        assert ("prefetcht1" in text) == config["fetch"]
        found.add(config["fetch"])
    assert found == fetches
