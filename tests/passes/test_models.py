"""Whole networks, as builders and exporters write them: the passes keep what they compute."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from planck.frontends import read
from planck.ir.interpret import interpret
from planck.passes import simplify

EXPORTED = Path(__file__).parents[1] / "data" / "exported"
# What is left once activations, norms and attention are recognised.
KINDS = {
    "bert-script": {"LayerNorm": 5, "Attention": 2, "gelu": 2},
    "bert-dynamo": {"LayerNorm": 5, "Attention": 2, "gelu": 2},
    "vit-script": {"LayerNorm": 5, "Attention": 2, "gelu": 2},
    "vit-dynamo": {"LayerNorm": 5, "Attention": 2, "gelu": 2},
    "mobilenet-script": {"Conv": 10, "add": 3},
    "resnet-dynamo": {"Conv": 16, "relu": 13, "add": 5},
    # a sigmoid for each part of each head: centre, size, scores
    "yolov5-script": {"Conv": 22, "silu": 19, "sigmoid": 9},
    # a sigmoid behind each convolution that makes scores
    "yolov8-script": {"Conv": 25, "silu": 19, "sigmoid": 3, "Softmax": 1},
    "yolov8-dynamo": {"Conv": 25, "silu": 19, "sigmoid": 3, "Softmax": 1},
}


def kinds(graph):
    names = (getattr(n.op, "fn", type(n.op).__name__) for n in graph.nodes)
    return Counter(names)


def feed(graph):
    rng = np.random.default_rng(3)
    return {
        v.name: rng.standard_normal(v.type.dims).astype(np.float32)
        if v.type.dtype.is_float
        else rng.integers(0, 2, v.type.dims).astype(v.type.dtype.numpy)
        for v in graph.inputs
    }


@pytest.mark.parametrize("name", KINDS)
def test_exported(name):
    shapes = {"ids": (2, 7), "mask": (2, 7)} if name.startswith("bert") else None
    before = read(EXPORTED / f"{name}.onnx", shapes=shapes)
    after = simplify(before)
    counted = kinds(after)
    assert {kind: counted[kind] for kind in KINDS[name]} == KINDS[name]
    assert len(after.nodes) <= len(before.nodes)
    inputs = feed(before)
    wanted, got = interpret(before, inputs), interpret(after, inputs)
    for key, array in wanted.items():
        scale = float(np.abs(array).max())
        np.testing.assert_allclose(got[key], array, rtol=0, atol=1e-5 * scale)
