"""Index arithmetic simplifies, and stays right: against integers, on random expressions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from planck.dtypes import bool_, i64
from planck.loops.terms import Pool, Term, split


def evaluate(term: Term, at: dict[str, int]) -> Any:
    match term.kind:
        case "const":
            return term.what
        case "index":
            return at[term.what]
        case "affine":
            parts, constant = split(term)
            return constant + sum(f * evaluate(a, at) for a, f in parts.items())
    args = [evaluate(a, at) for a in term.args]
    return {
        "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "min": min, "max": max,
        "less": lambda a, b: a < b, "equal": lambda a, b: a == b,
    }[term.what](*args)  # fmt: skip


def test_flattening_and_unflattening_cancel() -> None:
    pool = Pool()
    i, j, k = pool.index("i", 5), pool.index("j", 6), pool.index("k", 7)
    flat = pool.add(pool.add(pool.scale(i, 42), pool.scale(j, 7)), k)
    assert pool.mod(flat, 7) is k
    assert pool.floordiv(flat, 42) is i
    assert pool.mod(pool.floordiv(flat, 7), 6) is j


def test_a_quotient_and_its_remainder_join() -> None:
    pool = Pool()
    i = pool.index("i", 1000)
    whole, rest = pool.floordiv(i, 16), pool.mod(i, 16)
    assert pool.add(pool.scale(whole, 16), rest) is i
    blocks = pool.add(pool.scale(whole, 32), pool.scale(rest, 2))
    assert blocks is pool.scale(i, 2)


def test_known_comparisons_are_constants() -> None:
    pool = Pool()
    i = pool.index("i", 8)
    assert pool.apply("less", (i, pool.integer(8)), bool_).what is True
    assert pool.apply("equal", (i, pool.integer(8)), bool_).what is False
    assert pool.apply("less", (i, pool.integer(7)), bool_).kind == "apply"
    assert pool.apply("min", (i, pool.integer(7)), i64) is i


def test_equal_structure_is_one_object() -> None:
    pool = Pool()
    i, j = pool.index("i", 8), pool.index("j", 3)
    assert pool.add(i, j) is pool.add(j, i)
    assert pool.const(0.0, i64) is pool.integer(0)


def test_random_arithmetic_keeps_its_value_and_its_bounds() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        pool = Pool()
        extents = {name: int(rng.integers(2, 9)) for name in "ij"}
        terms = [pool.index(name, n) for name, n in extents.items()]
        points = [dict(zip("ij", at, strict=True)) for at in itertools.product(
            *(range(n) for n in extents.values())
        )]  # fmt: skip
        values = {t: [evaluate(t, p) for p in points] for t in terms}
        for _ in range(8):
            a, b = (terms[int(rng.integers(0, len(terms)))] for _ in range(2))
            by = int(rng.choice([2, 3, 4, 6, 8, 12, 16]))
            kind = int(rng.integers(0, 5))
            x, y = np.array(values[a]), np.array(values[b])
            if kind == 0:
                new, want = pool.add(a, b), x + y
            elif kind == 1:
                new, want = pool.scale(a, by), x * by
            elif kind == 2:
                new, want = pool.floordiv(a, by), x // by
            elif kind == 3:
                new, want = pool.mod(a, by), x % by
            else:
                new, want = pool.add(a, pool.integer(by), -1), x - by
            got = [evaluate(new, p) for p in points]
            np.testing.assert_array_equal(got, want)
            assert new.low is not None
            assert new.high is not None
            assert new.low <= want.min()
            assert want.max() <= new.high
            terms.append(new)
            values[new] = got
