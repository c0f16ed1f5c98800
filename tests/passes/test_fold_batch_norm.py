"""Normalisation, scales and shifts go into the weights beside them, and only where they may."""

import pytest

from planck.passes.fold_batch_norm import RULES

NORM = """weight %s: f32[{c}] = ? weight %b: f32[{c}] = ? weight %m: f32[{c}] = ?
    weight %v: f32[{c}] = {v}"""


def norm(c):
    return NORM.format(c=c, v="[" + ", ".join(f"{0.5 + k / c}" for k in range(c)) + "]")


def conv(name, x, w, out, *bias, strides="(2, 1)", pads="(1, 0, 1, 2)", groups=1):
    operands = ", ".join(f"%{v}" for v in (x, w, *bias))
    return (
        f"%{name}: f32[{out}] = Conv({operands}, strides={strides}, pads={pads}, "
        f"dilations=(1, 1), groups={groups})"
    )


X = "%x: f32[2,3,7,5]"
W = "weight %w: f32[5,3,3,2] = ?"
OUT = "2,5,4,6"


def test_into_convolution(check):
    check(
        RULES,
        f"""graph "g"({X}) {{ {W} {norm(5)} {conv("c", "x", "w", OUT)}
        %y: f32[{OUT}] = BatchNorm(%c, %s, %b, %m, %v, epsilon=1e-05) return %y }}""",
        f"""graph "g"({X}) {{ {W} weight %t: f32[5] = ? {conv("y", "x", "w", OUT, "t")}
        return %y }}""",
    )


def test_groups_and_bias(check):
    check(
        RULES,
        f"""graph "g"(%x: f32[1,6,5,4]) {{ weight %w: f32[9,2,1,1] = ? weight %u: f32[9] = ?
        weight %k: f32[9,1,1] = ? weight %d: f32[] = 3
        {conv("c", "x", "w", "1,9,5,4", "u", strides="(1, 1)", pads="(0, 0, 0, 0)", groups=3)}
        %e: f32[1,9,5,4] = Pointwise(%k, %c, fn="mul")
        %f: f32[1,9,5,4] = Pointwise(%d, %e, fn="sub")
        %y: f32[1,9,5,4] = Pointwise(%f, %d, fn="div") return %y }}""",
        f"""graph "g"(%x: f32[1,6,5,4]) {{ weight %w: f32[9,2,1,1] = ? weight %u: f32[9] = ?
        {conv("y", "x", "w", "1,9,5,4", "u", strides="(1, 1)", pads="(0, 0, 0, 0)", groups=3)}
        return %y }}""",
    )


def test_into_transposed_convolution(check):
    op = (
        "ConvTranspose(%x, %w{}, strides=(2, 2), pads=(0, 1, 1, 0), dilations=(1, 1), groups=2, "
        "output_padding=(0, 0))"
    )
    check(
        RULES,
        f"""graph "g"(%x: f32[1,4,5,3]) {{ weight %w: f32[4,3,3,3] = ? {norm(6)}
        %c: f32[1,6,10,6] = {op.format("")}
        %y: f32[1,6,10,6] = BatchNorm(%c, %s, %b, %m, %v, epsilon=0.001) return %y }}""",
        f"""graph "g"(%x: f32[1,4,5,3]) {{ weight %w: f32[4,3,3,3] = ? weight %t: f32[6] = ?
        %y: f32[1,6,10,6] = {op.format(", %t")} return %y }}""",
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_into_matrix(check, transposed):
    w = "weight %w: f32[{}] = ?".format("7,5" if transposed else "5,7")
    flag = ", transpose_b=True" if transposed else ""
    check(
        RULES,
        f"""graph "g"(%x: f32[3,5]) {{ {w} weight %u: f32[7] = ? {norm(7)}
        %c: f32[3,7] = MatMul(%x, %w{flag}) %d: f32[3,7] = Pointwise(%c, %u, fn="add")
        %y: f32[3,7] = BatchNorm(%d, %s, %b, %m, %v, epsilon=0.001) return %y }}""",
        f"""graph "g"(%x: f32[3,5]) {{ {w} weight %u: f32[7] = ? weight %t: f32[7] = ?
        %c: f32[3,7] = MatMul(%x, %w{flag}) %d: f32[3,7] = Pointwise(%c, %u, fn="add")
        %y: f32[3,7] = Pointwise(%d, %t, fn="add") return %y }}""",
    )


def test_before_convolution(check):
    check(
        RULES,
        f"""graph "g"({X}) {{ {W} weight %k: f32[1,3,1,1] = ?
        %a: f32[2,3,7,5] = Pointwise(%x, %k, fn="mul") {conv("y", "a", "w", OUT)} return %y }}""",
        f"""graph "g"({X}) {{ {W} {conv("y", "x", "w", OUT)} return %y }}""",
    )
    check(
        RULES,
        f"""graph "g"({X}) {{ {W} {norm(3)}
        %a: f32[2,3,7,5] = BatchNorm(%x, %s, %b, %m, %v, epsilon=0.001)
        {conv("y", "a", "w", "2,5,3,4", pads="(0, 0, 0, 0)")} return %y }}""",
        f"""graph "g"({X}) {{ {W} weight %t: f32[5] = ?
        {conv("y", "x", "w", "2,5,3,4", "t", pads="(0, 0, 0, 0)")} return %y }}""",
    )


def test_alone(check):
    check(
        RULES,
        f"""graph "g"({X}) {{ {norm(3)}
        %y: f32[2,3,7,5] = BatchNorm(%x, %s, %b, %m, %v, epsilon=0.001) return %y }}""",
        f"""graph "g"({X}) {{ weight %s: f32[3,1,1] = ? weight %t: f32[3,1,1] = ?
        %a: f32[2,3,7,5] = Pointwise(%x, %s, fn="mul")
        %y: f32[2,3,7,5] = Pointwise(%a, %t, fn="add") return %y }}""",
    )


@pytest.mark.parametrize(
    "body",
    [
        f"""{W} weight %k: f32[5,1,1] = ? {conv("c", "x", "w", OUT)}
        %a: f32[{OUT}] = Pointwise(%c, %k, fn="mul")
        %y: f32[{OUT}] = Pointwise(%a, %c, fn="add") return %y""",  # the sum needs it unscaled
        f"""{W} weight %k: f32[4,1] = ? {conv("c", "x", "w", OUT)}
        %y: f32[{OUT}] = Pointwise(%c, %k, fn="mul") return %y""",  # a factor for each row
        f"""{W} weight %k: f32[3,1,1] = ? %a: f32[2,3,7,5] = Pointwise(%x, %k, fn="add")
        {conv("y", "a", "w", OUT)} return %y""",  # padding is zero, not k
    ],
)
def test_stays(check, body):
    check(RULES, f'graph "g"({X}) {{ {body} }}')
