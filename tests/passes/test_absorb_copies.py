"""Copies to channels last and back that are views, or part of the kernel in front of them."""

from __future__ import annotations

import pytest

from planck.compiler.place import place
from planck.ir.graph import Graph
from planck.ir.parse import parse
from planck.ops.nn import MatMul
from planck.ops.region import Region
from planck.passes.channels_last import channels_last
from planck.passes.fuse import fuse
from tests.passes.test_channels_last import check

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"
DEPTHWISE = CONV.replace("groups=1", "groups=16")


def program(body: str, channels: int = 16) -> Graph:
    return parse(
        f'graph "g"(%x: f32[2,{channels},4,6], %m: f32[2,24,{channels}]) {{ '
        f"weight %w: f32[16,{channels},3,3] = ? weight %v: f32[8,{channels},3,3] = ? "
        f"weight %s: f32[{channels}] = ? weight %u: f32[{channels},{channels}] = ? "
        "weight %j: f32[32] = ? "
        f"weight %d: f32[{channels},1,3,3] = ? weight %k: f32[{channels},1,1] = ? "
        f"{body} return %y }}"
    )


LAST = """%c: f32[2,16,4,6] = Conv(%x, %w, CONV)
    %t: f32[2,4,6,16] = Transpose(%c, perm=(0, 2, 3, 1))
    %n: f32[2,4,6,16] = LayerNorm(%t, %s, axis=3, epsilon=1e-5)"""
ROWS = """%p: f32[2,24,16] = MatMul(%m, %u)
    %t: f32[2,16,24] = Transpose(%p, perm=(0, 2, 1))
    %r: f32[2,16,4,6] = Reshape(%t, shape=(2, 16, 4, 6))
    %y: f32[2,8,4,6] = Conv(%r, %v, CONV)"""
CASES = {
    "a norm of channels": (
        f"""{LAST} %b: f32[2,16,4,6] = Transpose(%n, perm=(0, 3, 1, 2))
        %y: f32[2,8,4,6] = Conv(%b, %v, CONV)""",
        ["x_c", "c", "n", "y"],
    ),
    "a matrix of pixels": (ROWS, ["p", "y"]),
    "a matrix of pixels that is read as it is, too": (
        ROWS.replace("%y", "%z")
        + """ %e: f32[2,24,16] = Pointwise(%p, fn="exp")
        %q: f32[2,8,24] = Reshape(%z, shape=(2, 8, 24))
        %y: f32[2,24,16] = Pointwise(%e, fn="abs")""",
        None,
    ),
    "a factor for each channel": (
        """%c: f32[2,16,4,6] = Conv(%x, %w, CONV)
        %f: f32[2,16,4,6] = Pointwise(%c, %k, fn="mul")
        %a: f32[2,8,4,6] = Conv(%f, %v, CONV) %b: f32[2,16,4,6] = Conv(%c, %w, CONV)
        %g: f32[2,8,4,6] = Pointwise(%a, fn="exp")
        %h: f32[2,24,4,6] = Concat(%g, %b, axis=1) %y: f32[2,24,4,6] = Pointwise(%h, fn="abs")""",
        None,
    ),
    "a kernel of rows": (
        """%a: f32[2,16,24] = Softmax(%j, axis=2)
        %r: f32[2,16,4,6] = Reshape(%a, shape=(2, 16, 4, 6))
        %e: f32[2,16,4,6] = Pointwise(%r, %k, fn="mul")
        %y: f32[2,8,4,6] = Conv(%e, %v, CONV)""".replace("%j", "%i").replace(
            "%a: f32", "%i: f32[2,16,24] = Reshape(%x, shape=(2, 16, 24)) %a: f32", 1
        ),
        ["a", "e_c", "y"],
    ),
    "pixels for a product": (
        """%c: f32[2,16,4,6] = Conv(%x, %w, CONV)
        %r: f32[2,16,24] = Reshape(%c, shape=(2, 16, 24))
        %t: f32[2,24,16] = Transpose(%r, perm=(0, 2, 1))
        %p: f32[2,24,16] = MatMul(%t, %u) %y: f32[2,24,16] = Pointwise(%p, fn="exp")""",
        ["x_c", "c", "y"],
    ),
    "pixels of a sum, for a norm and a product": (
        """%c: f32[2,16,4,6] = Conv(%x, %d, DEPTHWISE)
        %a: f32[2,16,4,6] = Pointwise(%c, %k, fn="mul") %e: f32[2,16,4,6] = Conv(%a, %d, DEPTHWISE)
        %b: f32[2,16,4,6] = Pointwise(%a, %e, fn="sub")
        %h: f32[2,32,4,6] = Concat(%a, %b, axis=1)
        %r: f32[2,32,24] = Reshape(%h, shape=(2, 32, 24))
        %t: f32[2,24,32] = Transpose(%r, perm=(0, 2, 1))
        %n: f32[2,24,32] = LayerNorm(%t, %j, axis=2, epsilon=1e-5)
        %y: f32[2,24,32] = Pointwise(%t, %n, fn="add")""",
        ["x_c", "a", "b", "y"],
    ),
    "channels by pixels for a product": (
        """%c: f32[2,16,4,6] = Conv(%x, %d, DEPTHWISE)
        %r: f32[2,16,24] = Reshape(%c, shape=(2, 16, 24))
        %y: f32[2,24,16] = MatMul(%r, %u, transpose_a=True)""",
        ["x_c", "c", "y"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_left(case: str) -> None:
    body, names = CASES[case]
    given = program(body.replace("CONV", CONV).replace("DEPTHWISE", DEPTHWISE))
    found = channels_last(fuse(given))
    check(given, found, 1e-4)
    if names is not None:
        assert [step.outputs[0].name for step in place(found).steps] == names


def test_channels_that_are_no_whole_block_are_moved() -> None:
    body = ROWS.replace("16", "12").replace("CONV", CONV).replace("DEPTHWISE", DEPTHWISE)
    given = program(body, 12)
    found = channels_last(fuse(given))
    check(given, found, 1e-4)
    assert len(place(found).steps) == 3


def test_an_output_keeps_its_rows() -> None:
    body = ROWS.replace("CONV", CONV).replace("DEPTHWISE", DEPTHWISE)
    given = parse(
        f'graph "g"(%m: f32[2,24,16]) {{ weight %v: f32[8,16,3,3] = ? '
        f"weight %u: f32[16,16] = ? {body} return %y, %r }}"
    )
    check(given, channels_last(fuse(given)), 1e-4)


def test_products_are_not_swapped_twice() -> None:
    body, _ = CASES["channels by pixels for a product"]
    found = channels_last(fuse(program(body.replace("CONV", CONV).replace("DEPTHWISE", DEPTHWISE))))
    (product,) = [
        node.op.graph.nodes[0].op
        for node in found.nodes
        if isinstance(node.op, Region) and isinstance(node.op.graph.nodes[0].op, MatMul)
    ]
    assert product == MatMul()


def test_kernels_that_read_nothing_stay() -> None:
    """A number is written into its kernel, which has no inputs left."""
    given = parse(
        'graph "g"(%x: f32[2,16,4,6]) { weight %c: f32[] = ? weight %w: f32[16,16,3,3] = ? '
        f"%n: f32[] = Identity(%c) %y: f32[2,16,4,6] = Conv(%x, %w, {CONV}) return %y, %n }}"
    )
    found = channels_last(fuse(given))
    assert () in [node.inputs for node in found.nodes]
    check(given, found, 1e-4)
