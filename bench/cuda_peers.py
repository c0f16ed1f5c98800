"""The same layers in PyTorch: cuDNN's fused convolutions, cuBLASLt, its flash attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.cuda_layers import Layer

try:
    import torch
except ImportError:  # the peer is not there
    torch = None  # type: ignore[assignment]


def there() -> bool:
    return torch is not None and torch.cuda.is_available()


def reference(layer: Layer, arrays: Mapping[str, Any]) -> Any:
    """The layer's result in float32 without TF32, as a NumPy array; None without PyTorch."""
    if not there():
        return None
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    wide = {n: torch.from_numpy(a.astype(np.float32)).cuda() for n, a in arrays.items()}
    with torch.inference_mode():
        return _plain(layer, wide).cpu().numpy()


def _plain(layer: Layer, t: Mapping[str, Any]) -> Any:
    functional = torch.nn.functional
    if layer.kind == "attention":
        scores = t["q"] @ t["k"].transpose(-1, -2) * t["q"].shape[-1] ** -0.5
        return scores.softmax(-1) @ t["v"]
    if layer.kind == "matmul":
        made = t["x"] @ t["w"] + t["bias"]
        return made + t["beside"] if "beside" in t else made
    _, _, _, r, stride, groups, _ = layer.facts
    pad = 2 if r == 6 else (r - 1) // 2
    made = functional.conv2d(t["x"], t["w"], t["bias"], stride, pad, 1, groups)
    return functional.relu(made + t["beside"] if "beside" in t else made)


def measure(layer: Layer, arrays: Mapping[str, Any], copies: int, repeats: int) -> float | None:
    """Microseconds a layer in a CUDA graph, operands rotated, with the fastest algorithm found."""
    if not there():
        return None
    torch.backends.cudnn.benchmark = True
    sets = [_short(layer, arrays) for _ in range(copies)]
    calls = [_call(layer, own) for own in sets]
    with torch.inference_mode():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for call in calls[:2] * 3:
                call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = [calls[k % copies]() for k in range(repeats)]
        graph.replay()
        torch.cuda.synchronize()
        times = []
        for _ in range(7):
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            graph.replay()
            last.record()
            torch.cuda.synchronize()
            times.append(first.elapsed_time(last) * 1e3 / repeats)
    del kept, graph
    return sorted(times)[len(times) // 2]


def _short(layer: Layer, arrays: Mapping[str, Any]) -> dict[str, Any]:
    made = {n: torch.from_numpy(a).cuda().half() for n, a in arrays.items()}
    if layer.kind == "conv":
        for name, tensor in made.items():
            if tensor.ndim == 4:
                made[name] = tensor.to(memory_format=torch.channels_last)
    return made


def _call(layer: Layer, t: Mapping[str, Any]) -> Callable[[], Any]:
    functional = torch.nn.functional
    if layer.kind == "attention":
        return lambda: functional.scaled_dot_product_attention(t["q"], t["k"], t["v"])
    if layer.kind == "matmul":
        weights = t["w"].t().contiguous()
        return lambda: functional.linear(t["x"], weights, t["bias"])  # without the residual
    _, _, _, r, stride, groups, _ = layer.facts
    pad = 2 if r == 6 else (r - 1) // 2
    sizes = ([stride] * 2, [pad] * 2, [1] * 2, groups)
    if "beside" in t:
        fused = torch.ops.aten.cudnn_convolution_add_relu
        return lambda: fused(t["x"], t["w"], t["beside"], 1.0, t["bias"], *sizes)
    fused = torch.ops.aten.cudnn_convolution_relu
    return lambda: fused(t["x"], t["w"], t["bias"], *sizes)
