"""Random networks compute on this processor what they do in ONNX Runtime.

`python -m bench.fuzz.networks` runs many more; tests/compiler/cuda/test_random.py some for GPUs.
"""

from __future__ import annotations

import pytest

import planck
from bench.fuzz.networks import error, expected, network


@pytest.mark.slow
def test_on_a_processor() -> None:
    for seed in range(50):
        model, feed = network(seed)
        engine = planck.build(model, optimization_level=0, threads=1, accuracy=None)
        assert error(engine(feed), expected(model, feed)) <= 1e-4, f"seed {seed}"


def test_networks_are_the_same_each_time() -> None:
    assert network(7)[0].SerializeToString() == network(7)[0].SerializeToString()
    assert network(7)[0].SerializeToString() != network(8)[0].SerializeToString()
