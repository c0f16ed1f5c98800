"""The weight budget: who gives way, what is recorded, and a whole plan that keeps to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import planck
from bench.models.net import Net
from planck.codegen.processes import CompilePool
from planck.compiler.split import Launch
from planck.compiler.weigh import LEAST_ALLOWANCE_BYTES, allowance, weigh
from planck.dtypes import f32
from planck.errors import BuildError
from planck.ir.graph import Graph, Node, Value
from planck.ir.types import TensorType
from planck.ops.nn import Conv
from planck.ops.region import Region
from planck.tactics import TACTICS
from planck.tactics.kernel import Kernel, Operand
from planck.target import host
from planck.tune.cache import Timing
from planck.tune.choose import Choice, offers


def kernel_of(channels: int) -> Kernel:
    """A 3x3 convolution that direct and Winograd's tactic take."""
    target = host()
    x = Value("v0", TensorType((1, channels, 20, 24), f32, block=target.lanes))
    w = Value("v1", TensorType((channels, channels, 3, 3), f32))
    y = Value("v2", x.type)
    node = Node(Conv((1, 1), (1,) * 4, (1, 1), 1), (x, w), (y,))
    graph = Graph("kernel", (x, w), (node,), (y,))
    operands = {v.name: Operand.dense(v.type) for v in (x, w, y)}
    return Kernel(graph, operands, frozenset({"v1"}), target, 1)


def launch_of(kernel: Kernel, weights: str) -> Launch:
    names = {v.name: v for v in (*kernel.graph.inputs, *kernel.graph.outputs)}
    own = Value(weights, names["v1"].type)
    node = Node(Region(kernel.graph), (names["v0"], own), (names["v2"],))
    return Launch(node, kernel, {**names, "v1": own})


def choice_of(kernel: Kernel, fast_us: float, growth_bytes: int) -> Choice:
    """Winograd at some time, for more weights; direct convolution at 100 us."""
    found = {c.tactic.name: c for c in reversed(offers(kernel, TACTICS)[0])}
    fast, plain = found["winograd"], found["direct"]
    rows = (
        Timing("winograd", fast.config, fast_us, error=1e-6, growth_bytes=growth_bytes),
        Timing("direct", plain.config, 100.0),
        Timing("loops", {}, refused="not tried"),
    )
    return Choice(fast.tactic, fast.config, fast.tactic.build(kernel, fast.config), b"", rows)


def test_the_kernel_that_wins_least_for_its_bytes_gives_way() -> None:
    good, poor = kernel_of(32), kernel_of(48)
    choices = {good.key: choice_of(good, 20.0, 1000), poor.key: choice_of(poor, 95.0, 1000)}
    launches = [launch_of(good, "a"), launch_of(poor, "b"), launch_of(poor, "c")]
    with CompilePool(host(), 1) as pool:
        kept = weigh(launches, choices, TACTICS, pool, limit=3000)
        mixed = weigh(launches, choices, TACTICS, pool, limit=1500)
        plain = weigh(launches, choices, TACTICS, pool, limit=0)
    assert kept == choices
    assert mixed[good.key] == choices[good.key]
    assert mixed[poor.key].tactic.name == "direct"
    assert mixed[poor.key].object
    assert [row.tactic for row in mixed[poor.key].timings] == ["direct", "winograd", "loops"]
    assert "may grow by 0 MB" in mixed[poor.key].timings[1].refused
    assert {choice.tactic.name for choice in plain.values()} == {"direct"}


def test_what_the_limit_leaves_is_used() -> None:
    """One by one, the largest gives way first here, and nothing of its room is used again."""
    large, small = kernel_of(32), kernel_of(48)
    between = Timing("winograd", offers(large, TACTICS)[0][2].config, 60.0, growth_bytes=1500)
    choices = {large.key: choice_of(large, 20.0, 4000), small.key: choice_of(small, 60.0, 2000)}
    rows = choices[large.key].timings
    choices[large.key] = replace(choices[large.key], timings=(rows[0], between, *rows[1:]))
    launches = [launch_of(large, "a"), launch_of(small, "b")]
    with CompilePool(host(), 1) as pool:
        found = weigh(launches, choices, TACTICS, pool, limit=3600)
        tight = weigh(launches, choices, TACTICS, pool, limit=2500)
    assert found[small.key] == choices[small.key]
    assert found[large.key].timings[0] == between
    assert {choice.timings[0].growth_bytes for choice in tight.values()} <= {0, 1500, 2000}


def test_weights_that_shrink_leave_room_for_others() -> None:
    """Rows of 24 bits take less than the model's own."""
    large, small, short = kernel_of(32), kernel_of(48), kernel_of(64)
    choices = {large.key: choice_of(large, 20.0, 4000), small.key: choice_of(small, 60.0, 2000)}
    choices[short.key] = choice_of(short, 20.0, -1500)
    launches = [launch_of(k, k.key) for k in (large, small, short)]
    with CompilePool(host(), 1) as pool:
        tight = weigh(launches, choices, TACTICS, pool, limit=2600)
        less = weigh(launches, choices, TACTICS, pool, limit=500)
        none = weigh(launches, choices, TACTICS, pool, limit=-2000)
    assert tight[large.key] == choices[large.key]
    assert tight[small.key].tactic.name == "direct"
    assert tight[short.key] == choices[short.key]
    assert less[small.key] == choices[small.key]
    assert less[large.key].tactic.name == "direct"
    assert {choice.timings[0].growth_bytes for choice in none.values()} == {0, -1500}


def test_weights_that_layers_share_count_once() -> None:
    kernel = kernel_of(32)
    choices = {kernel.key: choice_of(kernel, 20.0, 1000)}
    launches = [launch_of(kernel, "same")] * 5
    with CompilePool(host(), 1) as pool:
        assert weigh(launches, choices, TACTICS, pool, limit=1000) == choices


def test_untimed_choices_stay() -> None:
    kernel = kernel_of(32)
    choices = {kernel.key: choice_of(kernel, 0.0, 1000)}
    with CompilePool(host(), 1) as pool:
        assert weigh([launch_of(kernel, "a")], choices, TACTICS, pool, limit=0) == choices


def test_allowance_is_a_share_of_large_networks() -> None:
    assert allowance(0) == allowance(6 * 10**7) == LEAST_ALLOWANCE_BYTES
    assert allowance(10**9) == 750_000_000


@pytest.mark.slow
def test_a_plan_keeps_to_its_limit(tmp_path: Path) -> None:
    net = Net("heavy", seed=1)
    x = net.input("x", (1, 64, 14, 17), 1.0)
    for channels in (128, 192):
        x = net.activation(net.conv(x, channels, bias=True), "relu")
    net.output(x, "y")
    model = net.model()
    cache = tmp_path / "planck.cache"
    raw = 4 * 9 * (64 * 128 + 128 * 192)
    options = {"threads": 1, "optimization_level": 3, "timing_cache": cache}
    limited = planck.build(model, weight_growth_mb=0, **options)
    assert len(limited.plan.weights) < 1.1 * raw
    again = planck.build(model, weight_growth_mb=0, **options)
    assert limited.plan.weights == again.plan.weights
    assert limited.plan.code == again.plan.code
    image = np.random.default_rng(0).standard_normal((1, 64, 14, 17), np.float32)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (want,) = session.run(None, {"x": image})
    assert np.abs(limited(image)["y"] - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_wrong_limit_is_refused(value: float) -> None:
    with pytest.raises(BuildError, match="weight_growth_mb"):
        planck.build(b"", weight_growth_mb=value)
