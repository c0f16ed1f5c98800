"""Activation functions written out as arithmetic, in the forms that exporters use."""

import pytest

from planck.passes.activations import RULES
from planck.passes.arithmetic import RULES as ARITHMETIC

HEAD = 'graph "a"(%x: f32[2,3,5]) {'


def program(constants, *steps):
    """Steps "y = mul a b" on constants {name: number}."""
    rows = [f"weight %{name}: f32[] = {number}" for name, number in constants.items()]
    for step in steps:
        name, _, fn, *args = step.split()
        operands = ", ".join(f"%{a}" for a in args)
        rows.append(f'%{name}: f32[2,3,5] = Pointwise({operands}, fn="{fn}")')
    return f"{HEAD} {' '.join(rows)} return %y }}"


ERF = {"k": 0.70710678, "r": 1.41421356, "one": 1.0, "half": 0.5, "two": 2.0}
TANH = {"k": 0.79788456, "c": 0.044715, "three": 3.0, "one": 1.0, "half": 0.5}
SIX = {"three": 3.0, "six": 6.0, "zero": 0.0, "sixth": 0.16666667, "half": 0.5, "one": 1.0}
CLIP = ("a = add x three", "b = max a zero", "c = min b six")


@pytest.mark.parametrize(
    ("fn", "parameters", "constants", "steps"),
    [
        ("silu", {}, {}, ("s = sigmoid x", "y = mul x s")),
        ("silu", {}, {}, ("s = sigmoid x", "y = mul s x")),
        ("silu", {}, {"one": 1.0}, ("n = neg x", "e = exp n", "d = add e one", "y = div x d")),
        ("sigmoid", {}, {"one": 1.0}, ("n = neg x", "e = exp n", "d = add one e", "y = div one d")),
        ("swish", {"b": 1.702}, {"b": 1.702}, ("s = mul x b", "t = sigmoid s", "y = mul x t")),
        ("softplus", {}, {"one": 1.0}, ("e = exp x", "d = add e one", "y = log d")),
        ("mish", {}, {}, ("p = softplus x", "t = tanh p", "y = mul x t")),
        (
            "mish",
            {},
            {"one": 1.0},
            ("e = exp x", "d = add e one", "p = log d", "t = tanh p", "y = mul t x"),
        ),
        ("relu", {}, {"zero": 0.0}, ("y = max zero x",)),
        ("hard_sigmoid", {"a": 1, "b": 1}, SIX, (*CLIP, "y = div c six")),
        ("hard_sigmoid", {"a": 1, "b": 1}, SIX, (*CLIP, "y = mul sixth c")),
        (
            "hard_sigmoid",
            {"a": 1, "b": 1},
            SIX,
            ("a = mul x sixth", "b = add half a", "c = min b one", "y = max c zero"),
        ),
        ("hard_swish", {}, SIX, (*CLIP, "d = div c six", "y = mul x d")),
        ("hard_swish", {}, SIX, (*CLIP, "d = mul x c", "y = div d six")),
        ("hard_swish", {}, SIX, (*CLIP, "d = mul x c", "y = mul d sixth")),
        ("hard_swish", {}, SIX, (*CLIP, "d = mul x sixth", "y = mul d c")),
        ("hard_swish", {}, SIX, ("h = hard_sigmoid x sixth half", "y = mul h x")),
        (
            "gelu",
            {},
            ERF,
            ("d = div x r", "e = erf d", "f = add e one", "g = mul x f", "y = mul g half"),
        ),
        (
            "gelu",
            {},
            ERF,
            ("d = mul k x", "e = erf d", "f = add one e", "g = mul half f", "y = mul x g"),
        ),
        (
            "gelu",
            {},
            ERF,
            ("h = mul x half", "d = div x r", "e = erf d", "f = add e one", "y = mul h f"),
        ),
        (
            "gelu",
            {},
            ERF,
            ("h = div x two", "d = div x r", "e = erf d", "f = add e one", "y = mul f h"),
        ),
        (
            "gelu",
            {},
            ERF,
            ("d = div x r", "e = erf d", "f = mul e half", "g = add f half", "y = mul g x"),
        ),
        (
            "gelu_tanh",
            {},
            TANH,
            (
                "p = pow x three",
                "q = mul c p",
                "s = add x q",
                "u = mul k s",
                "t = tanh u",
                "v = add t one",
                "w = mul x v",
                "y = mul half w",
            ),
        ),
        (
            "gelu_tanh",
            {},
            TANH,
            (
                "p = mul x x",
                "q = mul p x",
                "r = mul q c",
                "s = add r x",
                "u = mul s k",
                "t = tanh u",
                "v = add one t",
                "w = mul half v",
                "y = mul w x",
            ),
        ),
        (
            "gelu_tanh",
            {},
            TANH,
            (
                "p = mul x x",
                "q = mul p c",
                "r = add one q",
                "s = mul x r",
                "u = mul s k",
                "t = tanh u",
                "v = add one t",
                "w = mul half x",
                "y = mul w v",
            ),
        ),
    ],
)
def test_function(check, fn, parameters, constants, steps):
    after = program(parameters, f"y = {fn} x {' '.join(parameters)}")
    check((*ARITHMETIC, *RULES), program(constants, *steps), after)


@pytest.mark.parametrize(
    ("constants", "steps"),
    [
        ({}, ("s = sigmoid x", "m = mul x s", "y = add m s")),  # the sigmoid is needed
        (ERF, ("d = mul half x", "e = erf d", "f = add e one", "g = mul x f", "y = mul g half")),
        (SIX, ("a = add x half", "b = relu a", "c = min b six", "y = mul x c")),
        ({"b": 1.5}, ("s = sigmoid x", "m = mul x s", "t = exp m", "y = mul t b")),
    ],
)
def test_other_arithmetic_stays(check, constants, steps):
    if "exp" in " ".join(steps):
        check(RULES, program(constants, *steps), program(constants, "m = silu x", *steps[2:]))
    else:
        check(RULES, program(constants, *steps))
