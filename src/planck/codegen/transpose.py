"""A square of elements, transposed in registers."""

from __future__ import annotations

from planck.codegen.llvm import Builder


def transpose(b: Builder, rows: list[str], kind: str) -> list[str]:
    """n vectors of n elements, n a power of two -> their transpose, in log2(n) rounds of shuffles.

    kind:  "<16 x float>"
    """
    n = len(rows)
    half = 1
    while half < n:
        first, second = [], []
        for k in range(n):
            # Lanes whose bit `half` is clear come from the upper row, the others from the lower.
            first.append(k if not k & half else k - half + n)
            second.append(k + half if not k & half else k + n)
        masks = [", ".join(f"i32 {k}" for k in order) for order in (first, second)]
        mixed = list(rows)
        for k in range(n):
            if k & half:
                continue
            x, y = rows[k], rows[k + half]
            for to, mask in ((k, masks[0]), (k + half, masks[1])):
                mixed[to] = b.let(f"shufflevector {kind} {x}, {kind} {y}, <{n} x i32> <{mask}>")
        rows, half = mixed, half * 2
    return rows
