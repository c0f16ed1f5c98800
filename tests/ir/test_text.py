"""Graphs to text and back: nothing is lost, and a mistake is pointed at."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest

from planck.dtypes import DType, bf16, f32
from planck.errors import FileError, GraphSyntaxError
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.parse import load, parse
from planck.ir.text import canonical, same, save, text
from planck.ir.types import Quant, TensorType


@dataclass(frozen=True)
class Mix(Op):
    """An operator with attributes of every kind."""

    to: DType = f32
    perm: tuple[int, ...] = ()
    mode: str = "edge"
    alpha: float = 0.5
    flag: bool = False
    axis: int | None = None


@dataclass(frozen=True)
class Wrap(Op):
    """An operator that holds graphs."""

    body: Graph


OPERATORS = (Mix, Wrap)


def value(name, *shape, dtype=f32, **more):
    return Value(name, TensorType(shape, dtype, **more))


def graph():
    x, w, s, y = (
        value("x", 2, 17),
        value("w", 17, 3),
        value("s", dtype=bf16),
        value("y", 2, 3, block=16),
    )
    inner = Graph("in", (value("a", 2, 3),), (), (value("a", 2, 3),))
    q = value("q", 2, 3, quant=Quant((0.1, 0.25), (0, 3), 0))
    return Graph(
        "net",
        (x,),
        (
            Node(
                Mix(bf16, (0,), 'a "b"\n', float("inf"), True, -1),
                (x, w, s),
                (y, q),
                ("f:/a", "f:/b #"),
            ),
            Node(Wrap(inner), (y,), (value("z"),), ("f:/c",)),
            Node(Mix(), (value("z"),), (value("t", 0),)),
        ),
        (value("z"), q),
        {
            "w": np.random.default_rng(0).standard_normal((17, 3), np.float32),
            "s": np.array(0.1, ml_dtypes.bfloat16),
        },
        {"x": "images:0"},
    )


def test_round_trip():
    before = graph()
    again = parse(text(before), before.weights, OPERATORS)
    assert text(again) == text(before)
    assert same(again, before)
    assert again.nodes[0] == before.nodes[0]
    assert again.names == {"x": "images:0"}
    assert not same(
        before.with_(weights={**before.weights, "s": np.array(0.2, np.float32)}), before
    )


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.1, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38], np.float32),
        np.array([[0.1], [1e300]]),
        np.array(0.3, np.float16),
        np.array([0.1, 1e30], ml_dtypes.bfloat16),
        np.array([-8, 7], ml_dtypes.int4),
        np.array([2**63 - 1, -(2**63)]),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.array(["a", 'b"\\\n', "é"], object),
        np.zeros((0, 3), np.float32),
    ],
    ids=lambda array: str(array.dtype),
)
def test_weights_in_the_text(array):
    before = Graph("w", (), (), (), {"w": array})
    again = parse(text(before), operators=OPERATORS).weights["w"]
    assert again.dtype == array.dtype
    assert again.tolist() == array.tolist() or np.array_equal(again, array, equal_nan=True)
    assert np.array_equal(np.signbit(again), np.signbit(array)) if array.dtype.kind == "f" else True


def test_saved_stage(tmp_path):
    before = graph()
    large = np.arange(40).astype(ml_dtypes.bfloat16).reshape(8, 5)
    before = before.with_(weights={**before.weights, "large": large})
    save(before, tmp_path / "03.graph")
    assert same(load(tmp_path / "03.graph", OPERATORS), before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["03.graph", "03.graph.npz"]
    with pytest.raises(FileError, match="cannot read"):
        load(tmp_path / "04.graph")


def test_canonical_names_and_order():
    a = parse(
        """graph "a"(%x: f32[2]) {
        %dead: f32[2] = Mix(%x)
        %p: f32[2] = Mix(%x, axis=1)  # from "here"
        %q: f32[2] = Mix(%x, axis=2)
        %r: f32[2] = Mix(%p, %q)
        return %r }""",
        operators=OPERATORS,
    )
    b = parse(
        """graph "b"(%in: f32[2]) {  # a remark
        %two: f32[2] = Mix(%in, axis=2)
        %one: f32[2] = Mix(%in, axis=1)
        %end: f32[2] = Mix(%one, %two)
        return %end }""",
        operators=OPERATORS,
    )
    assert text(canonical(a)) == text(canonical(b))


def test_random_weights_are_the_same_each_time():
    source = 'graph "r"() { weight %w: f32[5,7] = ? return %w }'
    one, two = (parse(source, operators=OPERATORS).weights["w"] for _ in range(2))
    assert np.array_equal(one, two)
    assert parse(source, {"w": one * 2}, OPERATORS).weights["w"][0, 0] == 2 * one[0, 0]


@pytest.mark.parametrize(
    ("source", "message", "place"),
    [
        ("grph", "expected `graph`, found `grph`", "line 1, column 1"),
        ('graph "a"(%x: f31[1]) {', "expected a dtype", "line 1, column 15"),
        (
            'graph "a"() {\n  return %y\n}',
            "expected a value that is defined above",
            "line 2, column 10",
        ),
        ('graph "a"() {\n  %y: f32[] = Foo()\n}', "expected an operator", "line 2, column 15"),
        (
            'graph "a"() {\n  %y: f32[] = Mix(foo=1)\n}',
            "attributes that Mix takes",
            "line 2, column 15",
        ),
        ('graph "a"() { weight %w: f32[3] = [1, 2] }', "3 elements", "line 1, column 35"),
        ('graph "a"() { weight %w: i64[1] = [0.5] }', "an element of i64", "line 1"),
        ('graph "a"() { weight %w: f32[40] = @00ff }', "a weight that is given", "line 1"),
        ('graph "a"() { return ', "expected", "line 1"),
        ('graph "a"() { return } }', "the end of the text", "line 1, column 24"),
        ("", "expected `graph`, found the end", "line 1"),
        ("graph $", "expected", "line 1, column 7"),
    ],
)
def test_mistakes_are_pointed_at(source, message, place):
    with pytest.raises(GraphSyntaxError, match=message) as caught:
        parse(source, operators=OPERATORS)
    assert caught.value.at.startswith(place)
