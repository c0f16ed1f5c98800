"""Two matrix products and a softmax become one attention, however scale and mask are written."""

import numpy as np
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


def masked(scores="s", seen="%c", low="%n"):
    """where(seen, scores, low), and its softmax times the values."""
    chosen = f'%l: f32[2,3,5,7] = Pointwise({seen}, %{scores}, {low}, fn="select")'
    return (chosen, *end("l"))


DRAWN = 'graph "m"(%q: f32[2,3,5,8], %k: f32[2,3,7,8], %v: f32[2,3,7,4], %c: bool[2,1,1,7])'


@pytest.mark.parametrize("low", ["-1e9", "-3.4e38"])
def test_keys_that_are_hidden_by_where(check, low):
    product = matmul("s", "q", "k", flags=", transpose_b=True")
    number = f"weight %n: f32[] = {low}"
    check(
        RULES,
        f"{DRAWN} {{ {number} {' '.join((product, *masked()))} return %y }}",
        f"{DRAWN} {{ weight %o: f32[] = 0.0 {number} "
        '%m: f32[2,1,1,7] = Pointwise(%c, %o, %n, fn="select") '
        "%y: f32[2,3,5,4] = Attention(%q, %k, %v, %m, scale=1.0) return %y }",
    )


def test_hidden_keys_that_might_weigh_something_stay(check):
    product = matmul("s", "q", "k", flags=", transpose_b=True")
    check(
        RULES,
        f"{DRAWN} {{ weight %n: f32[] = -9000.0 {' '.join((product, *masked()))} return %y }}",
    )


def test_a_causal_mask(check):
    head = 'graph "c"(%q: f32[2,3,5,8]) {{ {} return %y }}'
    mask = np.triu(np.full((1, 1, 5, 5), -np.inf, np.float32), 1)
    check(
        RULES,
        head.format(
            "weight %m: f32[1,1,5,5] = ? %y: f32[2,3,5,8] = Attention(%q, %q, %q, %m, scale=0.5)"
        ),
        head.format("%y: f32[2,3,5,8] = Attention(%q, %q, %q, scale=0.5, causal=True)"),
        weights={"m": mask},
    )


def test_keys_and_values_that_heads_share(check):
    head = (
        'graph "g"(%q: f32[2,6,5,8], %k: f32[2,3,1,7,8], %v: f32[2,3,1,7,4], %m: f32[1,1,1,7]) '
        "{{ {} return %y }}"
    )
    check(
        RULES,
        head.format(
            "%a: f32[2,3,2,7,8] = Broadcast(%k, shape=(2, 3, 2, 7, 8)) "
            "%b: f32[2,6,7,8] = Reshape(%a, shape=(2, 6, 7, 8)) "
            "%c: f32[2,3,2,7,4] = Broadcast(%v, shape=(2, 3, 2, 7, 4)) "
            "%d: f32[2,6,7,4] = Reshape(%c, shape=(2, 6, 7, 4)) "
            "%y: f32[2,6,5,4] = Attention(%q, %b, %d, %m, scale=0.5)"
        ),
        head.format(
            "%h: f32[2,3,2,5,8] = Reshape(%q, shape=(2, 3, 2, 5, 8)) "
            "%n: f32[1,7] = Reshape(%m, shape=(1, 7)) "
            "%a: f32[2,3,2,5,4] = Attention(%h, %k, %v, %n, scale=0.5) "
            "%y: f32[2,6,5,4] = Reshape(%a, shape=(2, 6, 5, 4))"
        ),
    )


def test_windows_with_a_mask_of_their_own(check):
    head = (
        'graph "w"(%q: f32[6,2,4,8]) {{ weight %b: f32[1,2,4,4] = ? weight %m: f32[3,1,4,4] = ? '
        "{} return %y }}"
    )
    check(
        RULES,
        head.format(
            "%s: f32[6,2,4,4] = MatMul(%q, %q, transpose_b=True) "
            '%t: f32[6,2,4,4] = Pointwise(%s, %b, fn="add") '
            "%r: f32[2,3,2,4,4] = Reshape(%t, shape=(2, 3, 2, 4, 4)) "
            '%u: f32[2,3,2,4,4] = Pointwise(%r, %m, fn="add") '
            "%l: f32[6,2,4,4] = Reshape(%u, shape=(6, 2, 4, 4)) "
            "%p: f32[6,2,4,4] = Softmax(%l, axis=-1) %y: f32[6,2,4,8] = MatMul(%p, %q)"
        ),
        'graph "w"(%q: f32[6,2,4,8]) { weight %m: f32[3,2,4,4] = ? '
        "%a: f32[2,3,2,4,8] = Reshape(%q, shape=(2, 3, 2, 4, 8)) "
        "%b: f32[2,3,2,4,8] = Reshape(%q, shape=(2, 3, 2, 4, 8)) "
        "%c: f32[2,3,2,4,8] = Reshape(%q, shape=(2, 3, 2, 4, 8)) "
        "%d: f32[2,3,2,4,8] = Attention(%a, %b, %c, %m, scale=1.0) "
        "%y: f32[6,2,4,8] = Reshape(%d, shape=(6, 2, 4, 8)) return %y }",
    )


def test_zero_for_queries_that_see_no_key(check):
    product = matmul("s", "q", "k", flags=", transpose_b=True")
    check(
        RULES,
        program(
            "weight %z: f32[] = 0.0",
            product,
            pointwise("l = add s m"),
            "%p: f32[2,3,5,7] = Softmax(%l, axis=-1)",
            '%n: bool[2,3,5,7] = Pointwise(%p, fn="isnan")',
            pointwise("w = select n z p"),
            matmul("y", "w", "v", "2,3,5,4"),
        ),
        program(
            "weight %z: f32[] = 0.0",
            "%a: f32[2,3,5,4] = Attention(%q, %k, %v, %m, scale=1.0)",
            '%n: bool[2,3,5,4] = Pointwise(%a, fn="isnan")',
            pointwise("y = select n z a", "2,3,5,4"),
        ),
    )
