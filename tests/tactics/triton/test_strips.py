"""Convolutions by strips for GPUs against float64: odd sizes, pads, several results of a row."""

from __future__ import annotations

from typing import Any

import pytest

from planck.dtypes import bf16, f16, f32
from planck.tactics.triton import strips
from planck.tactics.triton.strips import StripConvolution
from tests.tactics.triton.test_convolution import Layer


@pytest.mark.parametrize("beside", [1, 2])
@pytest.mark.parametrize(
    ("x", "m", "r", "dtype", "more"),
    [
        ((2, 16, 9, 11), 20, 4, f16, {}),
        ((3, 8, 6, 10), 16, 3, bf16, {}),
        ((1, 16, 5, 9), 33, 2, f16, {}),
        ((2, 16, 5, 6), 20, 3, f16, {"pad": 1}),
        ((1, 8, 7, 10), 16, 5, bf16, {"pad": 2}),
        ((1, 24, 9, 9), 12, 3, f16, {"stride": 2}),
    ],
)
def test_against_float64(
    x: Any, m: int, r: int, dtype: Any, more: Any, beside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "WAVES", 0)
    layer = Layer(x, m, r, dtype, **more).then("silu").plus()
    kernel = layer.case.kernel(layer.finish())
    offers = StripConvolution().offers(kernel)
    assert offers, offers
    found = [config for config in offers if config["beside"] == beside]
    assert bool(found) == (beside == 1 or layer.wanted.shape[3] % 2 == 0)
    for config in found[:2]:
        layer.check(StripConvolution(), kernel, **{**config, "bm": 32})


@pytest.mark.parametrize("c", [16, 24, 64])
def test_all_loads_are_of_16_bytes(c: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those are in flight from one step to the next, in shared memory."""
    monkeypatch.setattr(strips, "WAVES", 0)
    layer = Layer((2, c, 9, 12), 32, pad=1)
    kernel = layer.case.kernel(layer.finish())
    offers = StripConvolution().offers(kernel) or ()
    for config in {own["beside"]: own for own in offers}.values():
        bytes_ = 2 * config["stages"] * (config["bm"] + config["bn"]) * config["bk"]
        assert layer.case.compile(StripConvolution(), kernel, config).shared_bytes >= bytes_


@pytest.mark.parametrize(
    ("reason", "layer"),
    [
        ("no taps in common", lambda: Layer((1, 16, 9, 8), 8, 2, stride=2)),
        ("no taps in common", lambda: Layer((1, 16, 6, 8), 8, 1)),
        ("strides and pads", lambda: Layer((1, 16, 6, 8), 8, stride=2, pad=1)),
        ("too few", lambda: Layer((1, 16, 6, 8), 8, pad=1)),
        ("96 columns", lambda: Layer((1, 16, 6, 8), 96, pad=1)),
        ("96 channels", lambda: Layer((1, 96, 6, 8), 40)),
        ("not read whole", lambda: Layer((1, 12, 6, 8), 8)),
        ("multiplies f32", lambda: Layer((1, 16, 6, 8), 8, dtype=f32)),
        ("groups", lambda: Layer((1, 64, 6, 8), 64, groups=2)),
    ],
)
def test_refused(reason: str, layer: Any) -> None:
    own = layer()
    refusal = StripConvolution().offers(own.case.kernel(own.finish()))
    assert not refusal
    assert reason in str(refusal)
