"""Two matrix products and a softmax become one attention, however scale and mask are written."""

import pytest

from planck.passes.attention import RULES
from planck.passes.push_transposes import RULES as TRANSPOSES

HEAD = (
    'graph "a"(%q: f32[2,3,5,8], %k: f32[2,3,7,8], %v: f32[2,3,7,4], %m: f32[2,1,1,7]) {{'
    " weight %r: f32[] = 0.35 weight %t: f32[] = 2.5 {} return %y }}"
)


def program(*rows):
    return HEAD.format(" ".join(rows))


def pointwise(step, shape="2,3,5,7"):
    name, _, fn, *args = step.split()
    return f'%{name}: f32[{shape}] = Pointwise({", ".join(f"%{a}" for a in args)}, fn="{fn}")'


def matmul(name, a, b, shape="2,3,5,7", flags=""):
    return f"%{name}: f32[{shape}] = MatMul(%{a}, %{b}{flags})"


SWAP = "%kt: f32[2,3,8,7] = Transpose(%k, perm=(0, 1, 3, 2))"


def end(logits):
    return (f"%p: f32[2,3,5,7] = Softmax(%{logits}, axis=-1)", matmul("y", "p", "v", "2,3,5,4"))


@pytest.mark.parametrize(
    ("rows", "scale", "mask"),
    [
        ((SWAP, matmul("s", "q", "kt"), *end("s")), "1.0", False),
        ((matmul("s", "q", "k", flags=", transpose_b=True"), *end("s")), "1.0", False),
        ((SWAP, matmul("s", "q", "kt"), pointwise("l = mul s r"), *end("l")), "0.35", False),
        ((SWAP, matmul("s", "q", "kt"), pointwise("l = div s t"), *end("l")), "0.4", False),
        (
            (
                SWAP,
                pointwise("a = mul q r", "2,3,5,8"),
                pointwise("b = mul kt r", "2,3,8,7"),
                matmul("s", "a", "b"),
                pointwise("l = add s m"),
                *end("l"),
            ),
            "0.12249999999999998",
            True,
        ),
        (
            (
                SWAP,
                matmul("s", "q", "kt"),
                pointwise("n = div s t"),
                pointwise("l = add m n"),
                *end("l"),
            ),
            "0.4",
            True,
        ),
    ],
)
def test_attention(check, rows, scale, mask):
    inputs = "%q, %k, %v, %m" if mask else "%q, %k, %v"
    check(
        (*RULES, *TRANSPOSES),
        program(*rows),
        program(f"%y: f32[2,3,5,4] = Attention({inputs}, scale={scale})"),
    )


def test_heads_cut_from_one_matrix(check):
    """Keys that come transposed with the heads keep one transpose for both."""
    head = 'graph "a"(%q: f32[2,3,5,8], %x: f32[2,7,3,8], %v: f32[2,3,7,4]) {{ {} return %y }}'
    check(
        (*RULES, *TRANSPOSES),
        head.format(
            "%kt: f32[2,3,8,7] = Transpose(%x, perm=(0, 2, 3, 1)) "
            + " ".join((matmul("s", "q", "kt"), *end("s")))
        ),
        head.format(
            "%k: f32[2,3,7,8] = Transpose(%x, perm=(0, 2, 1, 3)) "
            "%y: f32[2,3,5,4] = Attention(%q, %k, %v, scale=1.0)"
        ),
    )


@pytest.mark.parametrize(
    "rows",
    [
        (
            SWAP,
            matmul("s", "q", "kt"),
            "%p: f32[2,3,5,7] = Softmax(%s, axis=2)",
            matmul("y", "p", "v", "2,3,5,4"),
        ),
        (
            SWAP,
            matmul("s", "q", "kt"),
            "%p: f32[2,3,5,7] = Softmax(%s, axis=3)",
            matmul("o", "p", "v", "2,3,5,4"),
            pointwise("z = add p s"),
            '%a: f32[2,3,5,1] = Reduce(%z, kind="sum", axes=(3,))',
            pointwise("y = add o a", "2,3,5,4"),
        ),
    ],
)
def test_stays(check, rows):
    check(RULES, program(*rows))
