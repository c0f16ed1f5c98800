"""Which tensors become bfloat16 or float16; a graph with its casts says what is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planck
from planck.compiler.api import stage
from planck.dtypes import Array, bf16, f16
from planck.errors import BuildError
from planck.frontends import read
from planck.ir.graph import Graph, Node
from planck.ir.interpret import interpret
from planck.ir.parse import parse
from planck.ir.text import save, text
from planck.ir.verify import verify
from planck.ops.nn import Conv
from planck.ops.region import Region
from planck.passes.depth_first import cut
from planck.passes.fuse import fuse
from planck.passes.layout import assign
from planck.passes.precision import shorten
from planck.target import host

CONV = "strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1"


def program(body: str, output: str = "y", channels: int = 16) -> Graph:
    return parse(
        f'graph "g"(%x: f32[1,{channels},4,6]) {{ weight %w: f32[16,{channels},3,3] = ? '
        f"weight %v: f32[16,16,3,3] = ? weight %d: f32[16,1,3,3] = ? weight %m: f32[8,24] = ? "
        f"{body} return %{output} }}"
    )


def lowered(graph: Graph) -> Graph:
    result = shorten(assign(fuse(graph), 16), bf16)
    verify(result, "precision")
    return result


def types(graph: Graph) -> dict[str, str]:
    return {v.name: v.type.dtype.name for v in graph.values()}


TWO = f"%a: f32[1,16,4,6] = Conv(%x, %w, {CONV}) %y: f32[1,16,4,6] = Conv(%a, %v, {CONV})"
# No target runs these by Winograd's algorithm, which rounds elsewhere.
DILATED = TWO.replace("(1, 1, 1, 1)", "(2, 2, 2, 2)").replace("ions=(1, 1)", "ions=(2, 2)")


def test_what_lies_between_products() -> None:
    found = types(lowered(program(TWO)))
    assert found["a"] == found["w_bf16"] == found["v_bf16"] == "bf16"
    assert not {"v", "w"} & found.keys()
    assert (found["x"], found["y"]) == ("f32", "f32")  # the caller's
    assert found["x_c"] == "bf16"  # the copy into blocks rounds on its way


def test_residuals_and_depthwise_filters_between_products() -> None:
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %w, {CONV})
        %b: f32[1,16,4,6] = Conv(%a, %d, {CONV.replace("groups=1", "groups=16")})
        %s: f32[1,16,4,6] = Pointwise(%b, %a, fn="add")
        %y: f32[1,16,4,6] = Conv(%s, %v, {CONV})"""
    found = types(lowered(program(body)))
    assert found["a"] == found["s"] == "bf16"
    assert found["d"] == "f32"


def test_the_tail_stays_float32() -> None:
    """Coordinates of boxes are hundreds of pixels: eight bits are not enough for them."""
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %w, {CONV}) %b: f32[1,16,4,6] = Conv(%a, %v, {CONV})
        %c: f32[16,24] = Reshape(%b, shape=(16, 24))
        %s: f32[24,16] = Transpose(%c, perm=(1, 0))
        %e: f32[24,16] = Pointwise(%s, fn="exp") %t: f32[24,16] = Softmax(%e, axis=1)
        %y: f32[24] = Reduce(%t, kind="sum", axes=(1,), keep=False)"""
    found = types(lowered(program(body)))
    assert found["a"] == "bf16"
    assert all(found[name] == "f32" for name in ("b", "e", "t", "y"))


def test_what_only_a_coordinate_is_made_of_stays_float32() -> None:
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %w, {CONV})
        %f: f32[1,16,4,6] = Conv(%a, %v, {CONV})
        %g: f32[1,2,4,6] = Slice(%f, starts=(0, 0, 0, 0), sizes=(1, 2, 4, 6), steps=(1, 1, 1, 1))
        %h: f32[1,4,6,2] = Transpose(%g, perm=(0, 2, 3, 1))
        %p: f32[1,16,4,6] = GridSample(%a, %h, mode="linear", padding="zeros", align=True)
        %y: f32[1,16,4,6] = Conv(%p, %v, {CONV})"""
    found = types(lowered(program(body)))
    assert found["a"] == found["p"] == "bf16"
    assert found["g"] == found["h"] == found["f"] == "f32"


def test_what_precedes_the_first_product_stays_float32_but_for_its_operand() -> None:
    """Large arguments of a sine lose it in bfloat16; the sine itself does not."""
    graph = parse(
        """graph "g"(%t: f32[5,8]) { weight %m: f32[8,24] = ? weight %n: f32[24,8] = ?
        weight %s: f32[] = 1000.0
        %a: f32[5,8] = Pointwise(%t, %s, fn="mul") %r: f32[8,5] = Transpose(%a, perm=(1, 0))
        %u: f32[8,5] = Softmax(%r, axis=1) %k: f32[5,8] = Transpose(%u, perm=(1, 0))
        %b: f32[5,24] = MatMul(%k, %m) %y: f32[5,8] = MatMul(%b, %n) return %y }"""
    )
    found = types(lowered(graph))
    assert found["b"] == "bf16"
    assert found["k"] == "bf16"  # an operand
    assert found.get("a", "f32") == "f32"
    assert found.get("r", "f32") == "f32"


def test_views_share_their_memory_and_so_their_type() -> None:
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %w, {CONV}) %b: f32[1,16,4,6] = Conv(%a, %v, {CONV})
        %c: f32[1,32,4,6] = Concat(%a, %b, axis=1)
        %s: f32[1,16,4,6] = Slice(%c, starts=(0, 16, 0, 0), sizes=(1, 16, 4, 6), steps=(1, 1, 1, 1))
        %y: f32[1,16,4,6] = Conv(%s, %v, {CONV})"""
    found = types(lowered(program(body)))
    assert found["a"] == found["b"] == found["c"] == found["s"] == "bf16"


def test_a_value_that_is_an_output_stays_what_it_is() -> None:
    found = types(lowered(program(TWO.replace("%y", "%z") + " %y: f32[1,16,4,6] = Identity(%a)")))
    assert found["y"] == "f32"


def test_a_few_channels_do_not_pay() -> None:
    graph = program(TWO, channels=3)
    found = types(lowered(graph))
    assert (found["w"], found["a"]) == ("f32", "bf16")


def test_it_changes_nothing_twice_and_comes_back_from_text(tmp_path: Path) -> None:
    once = lowered(filled(program(TWO)))
    assert text(shorten(once, bf16)) == text(once)
    weights = {**once.weights}
    save(once, tmp_path / "once.graph")
    assert text(read(tmp_path / "once.graph")) == text(once)
    assert weights.keys() == {"w_bf16", "v_bf16"}


def test_the_build_of_an_edited_stage(tmp_path: Path) -> None:
    """A graph stopped at after `precision` builds on: the same kernels, the same numbers."""
    graph = filled(program(DILATED))
    save(stage(graph, "precision", precision="bf16"), tmp_path / "stopped.graph")
    stopped = read(tmp_path / "stopped.graph")
    x = np.random.default_rng(0).standard_normal((1, 16, 4, 6)).astype(np.float32)
    options: dict[str, Any] = {"precision": "bf16", "threads": 1, "optimization_level": 0}
    direct, resumed = planck.build(graph, **options), planck.build(stopped, **options)
    for engine in (direct, resumed):  # layout may add copies to a graph that has its own
        assert [step.tactic for step in engine.inspect().steps].count("direct") == 2
    np.testing.assert_array_equal(direct(x)["y"], resumed(x)["y"])


def test_depth_first_regions_are_taken_apart() -> None:
    """Their kernels are float32 only; the parts are products like any other."""
    wide = "f32[1,32,4,6]"
    plain = CONV.replace("(1, 1, 1, 1)", "(0, 0, 0, 0)")
    graph = parse(
        f"""graph "g"(%x: f32[1,16,4,6]) {{ weight %w: f32[32,16,1,1] = ?
        weight %k: f32[32,1,3,3] = ? weight %v: f32[16,32,1,1] = ?
        %a: {wide} = Conv(%x, %w, {plain}) %b: {wide} = Pointwise(%a, fn="relu")
        %c: {wide} = Conv(%b, %k, {CONV.replace("groups=1", "groups=32")})
        %d: f32[1,16,4,6] = Conv(%c, %v, {plain})
        %y: f32[1,16,4,6] = Pointwise(%d, fn="relu") return %y }}"""
    )
    graph = filled(graph)
    counts = {
        precision: [
            sum(isinstance(n.op, Conv) for n in node.op.graph.nodes)
            for node in stage(graph, "precision", precision=precision).nodes
            if isinstance(node.op, Region)
        ]
        for precision in ("fp32", "bf16")
    }
    assert max(counts["fp32"]) == 3
    assert sorted(counts["bf16"])[-3:] == [1, 1, 1]
    found = types(stage(graph, "precision", precision="bf16"))
    assert found["b"] == found["c"] == found["w_bf16"] == found["v_bf16"] == "bf16"
    x = np.random.default_rng(0).standard_normal((1, 16, 4, 6)).astype(np.float32)
    want = interpret(graph, {"x": x})["y"]
    got = planck.build(graph, precision="bf16", threads=1, optimization_level=0)(x)["y"]
    assert np.abs(got - want).max() < 2**-6 * np.abs(want).max()


def filled(graph: Graph) -> Graph:
    rng = np.random.default_rng(1)
    used = {v.name: v.type for v in graph.values() if v.name in graph.weights}
    weights: dict[str, Array] = {
        name: (rng.standard_normal(kind.dims) * 0.1).astype(np.float32)
        for name, kind in used.items()
    }
    return graph.with_(weights=weights)


def test_the_graph_says_what_is_computed() -> None:
    graph = filled(program(DILATED))
    x = np.random.default_rng(0).standard_normal((1, 16, 4, 6)).astype(np.float32)
    exact = interpret(graph, {"x": x})["y"]
    short = interpret(lowered(graph), {"x": x})["y"]
    got = planck.build(graph, precision="bf16", threads=1, optimization_level=0)(x)["y"]
    scale = np.abs(exact).max()
    # Sums in another order, which may turn one rounding of %a: 2^-8 of one product in 144.
    np.testing.assert_allclose(got, short, rtol=0, atol=1e-3 * scale)
    assert 1e-4 * scale < np.abs(got - exact).max() < 2**-7 * scale


def test_plans_are_reproducible_and_load(tmp_path: Path) -> None:
    graph = filled(program(TWO))
    options: dict[str, Any] = {"precision": "bf16", "threads": 2, "optimization_level": 0}
    engine = planck.build(graph, **options)
    engine.save(tmp_path / "once.plan")
    planck.build(graph, **options).save(tmp_path / "twice.plan")
    assert (tmp_path / "once.plan").read_bytes() == (tmp_path / "twice.plan").read_bytes()
    loaded = planck.load(tmp_path / "once.plan")
    assert loaded.plan.precision == "bf16"
    assert bf16 in {slot.type.dtype for slot in loaded.plan.slots}
    x = np.ones((1, 16, 4, 6), np.float32)
    np.testing.assert_array_equal(loaded(x)["y"], engine(x)["y"])


def convolutions(node: Node) -> list[Node]:
    inner = node.op.graph.nodes if isinstance(node.op, Region) else ()
    return [n for n in inner if isinstance(n.op, Conv)]


def halved(graph: Graph) -> Graph:
    result = shorten(assign(fuse(graph), 16), f16)
    verify(result, "precision")
    return result


def test_constants_of_products_become_float16_and_nothing_else() -> None:
    graph = filled(program(TWO))
    short = halved(graph)
    found = types(short)
    assert (found["w_f16"], found["v_f16"]) == ("f16", "f16")
    assert not {"v", "w"} & found.keys()
    assert {kind for name, kind in found.items() if not name.endswith("_f16")} == {"f32"}
    assert text(shorten(short, f16)) == text(short)
    x = np.random.default_rng(0).standard_normal((1, 16, 4, 6)).astype(np.float32)
    exact = interpret(graph, {"x": x})["y"]
    want = interpret(short, {"x": x})["y"]
    got = planck.build(graph, precision="fp16", threads=1, optimization_level=0)(x)["y"]
    scale = np.abs(exact).max()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * scale)  # float32's own sums
    # 144 products, each with a weight rounded by up to 2^-12, in two layers.
    assert 1e-6 * scale < np.abs(got - exact).max() < 2**-11 * scale


def test_a_constant_that_float16_cannot_hold_stays_float32() -> None:
    graph = filled(program(TWO))
    weights = dict(graph.weights)
    weights["w"] = weights["w"].copy()
    weights["w"][3, 2, 1, 0] = 65520.0
    found = types(halved(graph.with_(weights=weights)))
    assert (found["w"], found["v_f16"]) == ("f32", "f16")
    weights["w"][3, 2, 1, 0] = 65519.0  # rounds to 65504
    assert types(halved(graph.with_(weights=weights)))["w_f16"] == "f16"


def test_a_constant_that_is_read_elsewhere_too() -> None:
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %w, {CONV})
        %t: f32[16,16,3,3] = Pointwise(%w, fn="tanh")
        %s: f32[16,16] = Reduce(%t, kind="sum", axes=(2, 3), keep=False)
        %f: f32[1,16,1,16] = Reshape(%s, shape=(1, 16, 1, 16))
        %g: f32[1,16,1,6] = Slice(%f, starts=(0, 0, 0, 0), sizes=(1, 16, 1, 6), steps=(1, 1, 1, 1))
        %y: f32[1,16,4,6] = Pointwise(%a, %g, fn="add")"""
    found = types(halved(filled(program(body))))
    assert (found["w"], found["w_f16"]) == ("f32", "f16")


def test_few_products_and_filters_of_one_channel_stay_float32() -> None:
    body = f"""%a: f32[1,16,4,6] = Conv(%x, %w, {CONV})
        %y: f32[1,16,4,6] = Conv(%a, %d, {CONV.replace("groups=1", "groups=16")})"""
    found = types(halved(filled(program(body, channels=3))))
    assert (found["w"], found["d"]) == ("f32", "f32")


@pytest.mark.parametrize("whole", [True, False])
def test_depth_first_regions_keep_together_with_float16(whole: bool) -> None:
    """Whole or in parts, each convolution with its own constants."""
    wide = "f32[1,35,9,7]"
    plain = CONV.replace("(1, 1, 1, 1)", "(0, 0, 0, 0)")
    graph = filled(
        parse(
            f"""graph "g"(%x: f32[1,19,9,7]) {{ weight %w: f32[35,19,1,1] = ?
            weight %k: f32[35,1,3,3] = ? weight %v: f32[21,35,1,1] = ?
            %a: {wide} = Conv(%x, %w, {plain}) %b: {wide} = Pointwise(%a, fn="relu")
            %c: {wide} = Conv(%b, %k, {CONV.replace("groups=1", "groups=35")})
            %d: f32[1,21,9,7] = Conv(%c, %v, {plain})
            %y: f32[1,21,9,7] = Pointwise(%d, fn="relu") return %y }}"""
        )
    )
    short = stage(graph, "precision", precision="fp16")
    (region,) = (n for n in short.nodes if len(convolutions(n)) == 3)
    parts = [region] if whole else cut(region, host().lanes)
    assert [len(convolutions(part)) for part in parts] == ([3] if whole else [1, 1, 1])
    nodes = [part for n in short.nodes for part in (parts if n is region else [n])]
    short = short.with_(nodes=tuple(nodes))
    verify(short, "cut")
    x = np.random.default_rng(0).standard_normal((1, 19, 9, 7)).astype(np.float32)
    rounded = graph.with_(
        weights={
            n: w if n == "k" else w.astype(np.float16).astype(np.float32)
            for n, w in graph.weights.items()
        }
    )
    want = interpret(rounded, {"x": x})["y"]
    np.testing.assert_allclose(interpret(short, {"x": x})["y"], want, rtol=0, atol=1e-5)
    built = planck.build(short, precision="fp16", threads=1, optimization_level=0)
    np.testing.assert_allclose(built(x)["y"], want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(BuildError, match=r"int7[\s\S]*fp32, bf16, fp16"):
        planck.build(program(TWO), precision="int7")


def test_on_a_gpu_sums_before_norms_are_short_though_a_residual_leads_to_an_output() -> None:
    graph = parse(
        'graph "g"(%x: f32[4,16]) { weight %w: f32[16,16] = ? weight %v: f32[16,16] = ? '
        "weight %s: f32[16] = ? weight %o: f32[16] = ? "
        '%a: f32[4,16] = MatMul(%x, %w) %b: f32[4,16] = Pointwise(%a, %x, fn="add") '
        "%n: f32[4,16] = LayerNorm(%b, %s, %o, axis=-1, epsilon=1e-05) "
        "%c: f32[4,16] = MatMul(%n, %v) "
        '%y: f32[4,16] = Pointwise(%c, %n, fn="add") return %y }'
    )
    for on_gpu, sums in ((True, "f16"), (False, "f32")):
        found = types(shorten(fuse(graph), f16 if on_gpu else bf16, on_gpu))
        assert found["b"] == sums
        assert found["n"] == ("f16" if on_gpu else "bf16")
        assert found["y"] == "f32"
