"""BERT-base and ViT-B/16 as exporters write them.

BERT has the decomposed operators of an older export (layer norm as ReduceMean, Sub, Pow, Sqrt, Div;
GELU by Erf; reshapes from Shape, Gather and Concat). ViT has LayerNormalization as an operator and
one MatMul for query, key and value.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto

from bench.models.net import Net, Tensor


def bert_base(batch: int, small: bool) -> ModelProto:
    """BERT-base: i64[N, 128] ids, mask and token types -> f32[N, 128, 768] and f32[N, 768].

    small: 2 layers, 32 wide, 17 tokens.
    """
    layers, hidden, heads, length, vocabulary, places = (
        (2, 32, 2, 17, 100, 32) if small else (12, 768, 12, 128, 30522, 512)
    )
    net = Net("bert_base", seed=1)
    ids = net.integer_input("input_ids", (batch, length), vocabulary)
    mask = net.integer_input("attention_mask", (batch, length), 2)
    types = net.integer_input("token_type_ids", (batch, length), 2)
    bias = _mask_bias(net, mask)
    x = _embeddings(net, ids, types, (vocabulary, places, hidden))
    for _ in range(layers):
        x = _decomposed_norm(net, net.add(_bert_attention(net, x, heads, bias), x))
        y = net.linear(net.activation(net.linear(x, 4 * hidden), "gelu"), hidden)
        x = _decomposed_norm(net, net.add(y, x))
    net.output(x, "last_hidden_state")
    first = net.op("Gather", [x, net.const(np.int64(0))], (batch, hidden), axis=1)
    pooled = net.op("Tanh", [net.gemm(first, hidden)], (batch, hidden))
    net.output(pooled, "pooler_output")
    return net.model()


def _embeddings(net: Net, ids: Tensor, types: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    vocabulary, places, hidden = sizes
    shape = (*ids.shape, hidden)

    def table(rows: int) -> Tensor:
        return net.const(net.normal((rows, hidden), 0.05), "embedding")

    words = net.op("Gather", [table(vocabulary), ids], shape)
    kinds = net.op("Gather", [table(2), types], shape)
    # position ids: the first length entries of a constant, its end taken from the input's shape
    end = net.op("Unsqueeze", [_size(net, ids, 1), net.const([0])], (1,))
    every = net.const(np.arange(places)[None], "position_ids")
    ranks = net.op("Slice", [every, net.const([0]), end, net.const([1])], (1, ids.shape[1]))
    position = net.op("Gather", [table(places), ranks], (1, *shape[1:]))
    x = net.op("Add", [net.op("Add", [words, kinds], shape), position], shape)
    return _decomposed_norm(net, x)


def _mask_bias(net: Net, mask: Tensor) -> Tensor:
    """0 where the mask is 1, the lowest float32 where it is 0: f32[N, 1, 1, L]."""
    n, length = mask.shape
    x = net.op("Unsqueeze", [mask, net.const([1])], (n, 1, length))
    x = net.op("Unsqueeze", [x, net.const([2])], (n, 1, 1, length))
    x = net.op("Cast", [x], x.shape, to=TensorProto.FLOAT)
    x = net.op("Sub", [net.const(np.float32(1.0)), x], x.shape)
    return net.op("Mul", [x, net.const(np.finfo(np.float32).min)], x.shape)


def _bert_attention(net: Net, x: Tensor, heads: int, bias: Tensor) -> Tensor:
    n, length, hidden = x.shape
    depth = hidden // heads
    shape = (n, length, heads, depth)
    query, key, value = (
        _reshape_by_shape(net, net.linear(x, hidden), x, (heads, depth)) for _ in range(3)
    )
    value = net.transpose(value, (0, 2, 1, 3))
    query = net.transpose(query, (0, 2, 1, 3))
    key = net.transpose(key, (0, 2, 3, 1))
    scores = net.op("MatMul", [query, key], (n, heads, length, length))
    scores = net.op("Div", [scores, net.const(np.float32(depth**0.5))], scores.shape)
    scores = net.op("Add", [scores, bias], scores.shape)
    weights = net.op("Softmax", [scores], scores.shape, axis=-1)
    mixed = net.op("MatMul", [weights, value], (n, heads, length, depth))
    mixed = net.transpose(mixed, (0, 2, 1, 3))
    assert mixed.shape == shape
    return net.linear(_reshape_by_shape(net, mixed, mixed, (hidden,)), hidden)


def _reshape_by_shape(net: Net, x: Tensor, like: Tensor, tail: tuple[int, ...]) -> Tensor:
    """Reshape to [N, L, *tail], N and L read from like's shape at run time."""
    zero = net.const([0])
    sizes = [net.op("Unsqueeze", [_size(net, like, axis), zero], (1,)) for axis in (0, 1)]
    sizes += [net.const([size]) for size in tail]
    target = net.op("Concat", sizes, (len(sizes),), axis=0)
    return net.op("Reshape", [x, target], (*x.shape[:2], *tail))


def _size(net: Net, x: Tensor, axis: int) -> Tensor:
    shape = net.op("Shape", [x], (len(x.shape),))
    return net.op("Gather", [shape, net.const(np.int64(axis))], (), axis=0)


def _decomposed_norm(net: Net, x: Tensor) -> Tensor:
    row = (*x.shape[:-1], 1)
    mean = net.op("ReduceMean", [x], row, axes=[-1])
    centred = net.op("Sub", [x, mean], x.shape)
    square = net.op("Pow", [centred, net.const(np.float32(2.0))], x.shape)
    variance = net.op("ReduceMean", [square], row, axes=[-1])
    spread = net.op("Sqrt", [net.op("Add", [variance, net.const(np.float32(1e-12))], row)], row)
    unit = net.op("Div", [centred, spread], x.shape)
    gain, bias = _gain_and_bias(net, x.shape[-1])
    return net.op("Add", [net.op("Mul", [unit, gain], x.shape), bias], x.shape, 1.0)


def _gain_and_bias(net: Net, width: int) -> tuple[Tensor, Tensor]:
    gain = 1 + np.clip(net.normal((width,), 0.1), -0.3, 0.3)
    return net.const(gain, "gamma"), net.const(net.normal((width,), 0.1), "beta")


def vit_b16(batch: int, small: bool) -> ModelProto:
    """ViT-B/16: f32[N, 3, 224, 224] -> f32[N, 1000]; small: 2 layers, 32 wide, 64 pixels."""
    layers, hidden, heads, side, classes = (2, 32, 2, 64, 10) if small else (12, 768, 12, 224, 1000)
    net = Net("vit_b16", seed=16)
    x = net.input("input", (batch, 3, side, side), 1 / 12)
    x = net.conv(x, hidden, 16, 16, pad=0, bias=True)
    patches = (side // 16) ** 2
    x = net.transpose(net.reshape(x, (batch, hidden, patches)), (0, 2, 1))
    token = net.const(net.normal((1, 1, hidden), 0.5), "class_token")
    target = net.const([batch, 1, hidden], "shape")
    token = net.op("Expand", [token, target], (batch, 1, hidden))
    x = net.concat([token, x], axis=1)
    positions = net.const(net.normal((1, patches + 1, hidden), 0.3), "positions")
    x = net.op("Add", [x, positions], x.shape)
    for _ in range(layers):
        x = net.add(x, _vit_attention(net, _norm(net, x), heads))
        y = net.activation(net.linear(_norm(net, x), 4 * hidden), "gelu")
        x = net.add(x, net.linear(y, hidden))
    first = net.op("Gather", [_norm(net, x), net.const(np.int64(0))], (batch, hidden), axis=1)
    net.output(net.gemm(first, classes), "output")
    return net.model()


def _norm(net: Net, x: Tensor) -> Tensor:
    inputs = [x, *_gain_and_bias(net, x.shape[-1])]
    return net.op("LayerNormalization", inputs, x.shape, 1.0, axis=-1, epsilon=1e-6)


def _vit_attention(net: Net, x: Tensor, heads: int) -> Tensor:
    n, length, hidden = x.shape
    depth = hidden // heads
    every = net.reshape(net.linear(x, 3 * hidden), (n, length, 3, heads, depth))
    every = net.transpose(every, (2, 0, 3, 1, 4))
    shape = (n, heads, length, depth)
    query, key, value = (
        net.op("Gather", [every, net.const(np.int64(i))], shape, axis=0) for i in range(3)
    )
    query = net.op("Mul", [query, net.const(np.float32(depth**-0.5))], shape)
    key = net.transpose(key, (0, 1, 3, 2))
    scores = net.op("MatMul", [query, key], (n, heads, length, length))
    weights = net.op("Softmax", [scores], scores.shape, axis=-1)
    mixed = net.transpose(net.op("MatMul", [weights, value], shape), (0, 2, 1, 3))
    return net.linear(net.reshape(mixed, (n, length, hidden)), hidden)
