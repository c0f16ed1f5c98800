"""1x1 convolutions come before an image is enlarged."""

import pytest

from planck.passes.resize_last import RULES, resize_last

PLAIN = "strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1"
NEAREST = 'mode="nearest", coordinates="asymmetric", rounding="floor"'
LINEAR = 'mode="linear", coordinates="half_pixel"'


def conv(name, x, *weights, out, image=(6, 10), more=PLAIN):
    operands = ", ".join(f"%{v}" for v in (x, *weights))
    return f"%{name}: f32[2,{out},{image[0]},{image[1]}] = Conv({operands}, {more})"


def up(name, x, channels, image=(6, 10), scale="2.0, 2.0", how=NEAREST):
    size = f"{channels}, {image[0]}, {image[1]}"
    return (
        f"%{name}: f32[2,{channels},{image[0]},{image[1]}] = Resize(%{x}, sizes=(2, {size}), "
        f"scales=(1.0, 1.0, {scale}), {how})"
    )


def program(*rows, end="%y", inputs="%a: f32[2,32,3,5], %b: f32[2,7,6,10]"):
    return f'graph "m"({inputs}) {{ {" ".join(rows)} return {end} }}'


W = "weight %w: f32[9,39,1,1] = ?"
BIAS = "weight %c: f32[9] = ?"


def test_beside_others(check):
    check(
        RULES,
        program(
            W,
            BIAS,
            up("u", "a", 32),
            "%x: f32[2,39,6,10] = Concat(%u, %b, axis=1)",
            conv("y", "x", "w", "c", out=9),
        ),
        program(
            "weight %v: f32[9,7,1,1] = ? weight %w: f32[9,32,1,1] = ?",
            BIAS,
            conv("p", "b", "v", "c", out=9),
            conv("q", "a", "w", out=9, image=(3, 5)),
            up("r", "q", 9),
            '%y: f32[2,9,6,10] = Pointwise(%p, %r, fn="add")',
        ),
    )


def test_between_others_that_stay_concatenated(check):
    inputs = "%a: f32[2,32,3,5], %b: f32[2,7,6,10], %d: f32[2,5,6,10]"
    check(
        RULES,
        program(
            "weight %w: f32[9,44,1,1] = ?",
            up("u", "a", 32),
            "%x: f32[2,44,6,10] = Concat(%b, %u, %d, axis=1)",
            conv("y", "x", "w", out=9),
            inputs=inputs,
        ),
        program(
            "weight %v: f32[9,12,1,1] = ? weight %w: f32[9,32,1,1] = ?",
            "%e: f32[2,12,6,10] = Concat(%b, %d, axis=1)",
            conv("p", "e", "v", out=9),
            conv("q", "a", "w", out=9, image=(3, 5)),
            up("r", "q", 9),
            '%y: f32[2,9,6,10] = Pointwise(%p, %r, fn="add")',
            inputs=inputs,
        ),
    )


@pytest.mark.parametrize("how", [NEAREST, LINEAR])
def test_alone(check, how):
    inputs = "%a: f32[2,32,3,5]"
    head = ("weight %w: f32[9,32,1,1] = ?", BIAS)
    check(
        RULES,
        program(*head, up("u", "a", 32, how=how), conv("y", "u", "w", "c", out=9), inputs=inputs),
        program(
            *head, conv("q", "a", "w", "c", out=9, image=(3, 5)), up("y", "q", 9, how=how),
            inputs=inputs,
        ),
    )  # fmt: skip


def test_functions_come_before_too(check):
    inputs = "%a: f32[2,32,3,5]"
    check(
        RULES,
        program(
            "weight %w: f32[9,32,1,1] = ?",
            up("u", "a", 32),
            conv("q", "u", "w", out=9),
            '%y: f32[2,9,6,10] = Pointwise(%q, fn="silu")',
            inputs=inputs,
        ),
        program(
            "weight %w: f32[9,32,1,1] = ?",
            conv("q", "a", "w", out=9, image=(3, 5)),
            '%r: f32[2,9,3,5] = Pointwise(%q, fn="silu")',
            up("y", "r", 9),
            inputs=inputs,
        ),
    )


def beside(channels=32, more=PLAIN, how=NEAREST, filters="1,1", scale="2.0, 2.0", small=(3, 5)):
    return program(
        f"weight %w: f32[9,{channels + 7},{filters}] = ?",
        up("u", "a", channels, how=how, scale=scale),
        f"%x: f32[2,{channels + 7},6,10] = Concat(%u, %b, axis=1)",
        conv("y", "x", "w", out=9, more=more),
        inputs=f"%a: f32[2,{channels},{small[0]},{small[1]}], %b: f32[2,7,6,10]",
    )


UNCHANGED = {
    "others read a concatenation of which much would stay": program(
        "weight %w: f32[9,44,1,1] = ?",
        up("u", "a", 32),
        "%x: f32[2,44,6,10] = Concat(%b, %u, %d, axis=1)",
        conv("y", "x", "w", out=9),
        '%z: f32[2,44,6,10] = Pointwise(%x, fn="exp")',
        inputs="%a: f32[2,32,3,5], %b: f32[2,7,6,10], %d: f32[2,5,6,10]",
        end="%y, %z",
    ),
    "too few channels to save": beside(20),
    "interpolated beside others": beside(how=LINEAR),
    "a wider filter": beside(
        filters="3,3", more="strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"
    ),
    "made smaller": beside(scale="0.5, 0.5", small=(12, 20)),
    "more channels to interpolate": program(
        "weight %w: f32[40,32,1,1] = ?",
        up("u", "a", 32, how=LINEAR),
        conv("y", "u", "w", out=40),
        inputs="%a: f32[2,32,3,5]",
    ),
    "an image that others read": program(
        "weight %w: f32[9,32,1,1] = ?",
        up("u", "a", 32),
        conv("y", "u", "w", out=9),
        '%z: f32[2,32,6,10] = Pointwise(%u, fn="exp")',
        inputs="%a: f32[2,32,3,5]",
        end="%y, %z",
    ),
}


@pytest.mark.parametrize("text", UNCHANGED.values(), ids=list(UNCHANGED))
def test_refused(check, text):
    check(resize_last, text)
