"""Which kernels become part of a convolution's, and that all means the same."""

from __future__ import annotations

import pytest

from planck.compiler.cuda.join import join_moves
from planck.ir.graph import Graph
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.verify import verify
from planck.ops.region import Region
from planck.passes import simplify
from planck.passes.channels_last import channels_last
from planck.passes.fuse import fuse
from planck.tactics.triton import TACTICS
from planck.target import Target
from tests.passes.conftest import random_inputs, same_results

H100 = Target("sm_90", "cuda", cores=132, l1_bytes=227 * 1024, l2_bytes=50 << 20)
CONV = "strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1"
MOVED = """%c: f32[2,21,5,6] = Conv(%x, %w, %b, CONV)
    %r: f32[2,3,7,5,6] = Reshape(%c, shape=(2, 3, 7, 5, 6))
    %t: f32[2,3,5,6,7] = Transpose(%r, perm=(0, 1, 3, 4, 2))""".replace("CONV", CONV)
CUT = "sizes=(2, 3, 5, 6, SIZE), steps=(1, 1, 1, 1, 1)"
HEAD = f"""{MOVED} %s: f32[2,3,5,6,7] = Pointwise(%t, fn="sigmoid")
    %p: f32[2,3,5,6,2] = Slice(%s, starts=(0, 0, 0, 0, 0), {CUT.replace("SIZE", "2")})
    %q: f32[2,3,5,6,5] = Slice(%s, starts=(0, 0, 0, 0, 2), {CUT.replace("SIZE", "5")})
    %u: f32[2,3,5,6,2] = Pointwise(%p, %grid, fn="add")
    %y: f32[2,3,5,6,7] = Concat(%u, %q, axis=4)"""
CASES = {
    "a head": (HEAD, "y", ["Conv"]),
    "pixels first": (
        f"""%c: f32[2,21,5,6] = Conv(%x, %w, %b, {CONV})
        %y: f32[2,5,6,21] = Transpose(%c, perm=(0, 2, 3, 1))""",
        "y",
        ["Conv"],
    ),
    "an output as it is": (
        f'{MOVED} %y: f32[2,3,5,6,7] = Pointwise(%t, fn="exp")',
        "c, %y",
        ["Conv", "Reshape"],
    ),
    "a view of rows": (
        f"""%c: f32[2,21,5,6] = Conv(%x, %w, %b, {CONV})
        %y: f32[2,21,30] = Reshape(%c, shape=(2, 21, 30))""",
        "y",
        ["Conv"],
    ),
    "all of it twice": (
        f"""{MOVED} %y: f32[2,3,5,6,7] = Pointwise(%t, fn="exp")
        %v: f32[2,5,6,21] = Transpose(%c, perm=(0, 2, 3, 1))
        %z: f32[2,5,6,21] = Pointwise(%v, fn="abs")""",
        "y, %z",
        ["Conv", "Reshape", "Transpose"],
    ),
    "what is not done point by point": (
        f"{MOVED} %y: f32[2,3,5,6,7] = Softmax(%t, axis=4)",
        "y",
        ["Conv", "Reshape"],
    ),
    "rows and columns mixed up": (
        f"""%c: f32[2,21,5,6] = Conv(%x, %w, %b, {CONV})
        %r: f32[2,35,18] = Reshape(%c, shape=(2, 35, 18))
        %y: f32[2,18,35] = Transpose(%r, perm=(0, 2, 1))""",
        "y",
        ["Conv", "Reshape"],
    ),
    "with what is made of it": (
        f"""{MOVED} %e: f32[2,3,5,6,7] = Pointwise(%t, fn="exp")
        %m: f32[2,3,5,6,1] = Reduce(%e, kind="max", axes=(4,), keep=True)
        %y: f32[2,3,5,6,7] = Pointwise(%t, %m, fn="sub")""",
        "y",
        ["Conv", "Pointwise", "Reduce", "Transpose"],
    ),
}


def regions(graph: Graph) -> list[str]:
    """The first operators of a graph's kernels, but for copies between layouts."""
    inner = [node.op.graph.nodes[0].op for node in graph.nodes if isinstance(node.op, Region)]
    return [type(op).__name__ for op in inner if type(op).__name__ != "Identity"]


def program(body: str, outputs: str) -> Graph:
    graph = parse(
        f'graph "g"(%x: f32[2,16,5,6], %grid: f32[1,1,5,6,2]) {{ weight %w: f32[21,16,1,1] = ?'
        f" weight %b: f32[21] = ? {body} return %{outputs} }}"
    )
    return channels_last(fuse(simplify(graph)))


@pytest.mark.parametrize("name", CASES)
def test_joining(name: str) -> None:
    body, outputs, wanted = CASES[name]
    before = program(body, outputs)
    after = join_moves(before, TACTICS, H100)
    verify(after)
    same_results(before, after)
    assert regions(after) == wanted
    assert (
        interpret(after, random_inputs(after)).keys()
        == interpret(before, random_inputs(before)).keys()
    )
