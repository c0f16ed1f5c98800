"""Text to graph: the inverse of `ir.text`, with errors that point at the place."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from planck.dtypes import BY_NAME, Array, DType
from planck.errors import FileError, GraphSyntaxError, PlanckError
from planck.ir.graph import Graph, Node, Op, Value
from planck.ir.types import Dim, Quant, TensorType

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<origin>\#[ ]from[ ](?="))
      | (?P<comment>\#[^\n]*)
      | (?P<value>%[A-Za-z_][A-Za-z0-9_]*)
      | (?P<digest>@[0-9a-f]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<number>[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![A-Za-z_]))
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[][(){},:=?])""",
    re.VERBOSE,
)

Operators = Sequence[type[Op]]


def parse(
    text: str, weights: Mapping[str, Array] | None = None, operators: Operators | None = None
) -> Graph:
    """The graph that a text describes.

    weights:    arrays for weights written `@digest` or `?`, by value name or by digest; a `?`
                that is not given gets random numbers, the same each time
    operators:  the classes that the text may name; all of Planck's when left out
    raises:     GraphSyntaxError with line, column and what was expected there
    """
    if operators is None:
        from planck.ops import OPERATORS

        operators = OPERATORS
    reader = _Reader(text, weights or {}, {op.__name__: op for op in operators})
    graph = reader.graph()
    if reader.now.kind != "end":
        reader.fail("the end of the text")
    return graph


def load(path: str | Path, operators: Operators | None = None) -> Graph:
    """The graph that `ir.text.save` wrote to `path` and `path`.npz.

    raises: FileError, GraphSyntaxError
    """
    path = Path(path)
    weights: dict[str, Array] = {}
    try:
        source = path.read_text(encoding="utf-8")
        beside = path.with_name(path.name + ".npz")
        if beside.exists():
            with np.load(beside, allow_pickle=False) as file:
                weights = {name: file[name] for name in file.files}
    except OSError as error:
        raise FileError(f"cannot read the graph: {error.strerror}", at=str(path)) from error
    except ValueError as error:
        raise FileError("the weights beside the graph are damaged", at=str(path)) from error
    try:
        return parse(source, weights, operators)
    except GraphSyntaxError as error:
        error.at = f"{path}, {error.at}"
        raise


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else f"`{self.text}`"


def _tokens(source: str) -> Iterator[_Token]:
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            yield _Token("odd", source[at], at)
            return
        kind = match.lastgroup or ""
        if kind not in ("space", "comment"):
            yield _Token(kind, match.group(), at)
        at = match.end()
    yield _Token("end", "", at)


class _Reader:
    """One token ahead, one method for each thing of the grammar."""

    def __init__(
        self, source: str, weights: Mapping[str, Array], operators: Mapping[str, type[Op]]
    ) -> None:
        self.source, self.given, self.operators = source, weights, operators
        self._rest = _tokens(source)
        self.now = next(self._rest)

    def fail(
        self, expected: str, at: int | None = None, found: str = "", try_: str = ""
    ) -> NoReturn:
        at = self.now.at if at is None else at
        line = self.source.count("\n", 0, at) + 1
        column = at - (self.source.rfind("\n", 0, at) + 1) + 1
        row = self.source.splitlines()[line - 1].strip() if self.source.strip() else ""
        raise GraphSyntaxError(
            f"expected {expected}, found {found or self.now}",
            at=f"line {line}, column {column}",
            know=row[:90],
            try_=try_,
        )

    def take(self, kind: str, expected: str) -> str:
        if self.now.kind != kind:
            self.fail(expected)
        taken, self.now = self.now.text, next(self._rest, self.now)
        return taken

    def mark(self, *marks: str) -> None:
        for mark in marks:
            if not self.accept(mark):
                self.fail(f"`{mark}`")

    def accept(self, text: str) -> bool:
        if self.now.kind in ("mark", "word", "origin") and self.now.text.strip() == text:
            self.now = next(self._rest, self.now)
            return True
        return False

    def name(self) -> str:
        return self.take("value", "a value's name such as %x")[1:]

    def string(self) -> str:
        found: str = json.loads(self.take("string", "a text in double quotes"))
        return found

    def integer(self) -> int:
        if not re.fullmatch(r"[-+]?\d+", self.now.text):
            self.fail("an integer")
        return int(self.take("number", "an integer"))

    def graph(self) -> Graph:
        self.mark("graph")
        title = self.string()
        self.mark("(")
        known: dict[str, Value] = {}
        inputs: list[Value] = []
        while not self.accept(")"):
            inputs.append(self.declared(known))
            if not self.accept(","):
                self.mark(")")
                break
        self.mark("{")
        names: dict[str, str] = {}
        while self.accept("name"):
            key = self.name()
            self.mark("=")
            names[key] = self.string()
        weights: dict[str, Array] = {}
        while self.accept("weight"):
            value = self.declared(known)
            self.mark("=")
            weights[value.name] = self.weight(value)
        nodes: list[Node] = []
        while not self.accept("return"):
            nodes.append(self.node(known))
        outputs = [self.used(known)] if self.now.kind == "value" else []
        while self.accept(","):
            outputs.append(self.used(known))
        self.mark("}")
        return Graph(title, tuple(inputs), tuple(nodes), tuple(outputs), weights, names)

    def declared(self, known: dict[str, Value]) -> Value:
        at = self.now.at
        name = self.name()
        if name in known:
            self.fail("a new name", at, f"`%{name}`, which is defined already")
        self.mark(":")
        known[name] = Value(name, self.type())
        return known[name]

    def used(self, known: Mapping[str, Value]) -> Value:
        at = self.now.at
        name = self.name()
        if name not in known:
            self.fail("a value that is defined above", at, f"`%{name}`")
        return known[name]

    def type(self) -> TensorType:
        if self.now.text not in BY_NAME:
            self.fail("a dtype such as f32")
        dtype = BY_NAME[self.take("word", "a dtype")]
        self.mark("[")
        shape: list[int | Dim] = []
        while not self.accept("]"):
            word = self.now.kind == "word"
            shape.append(Dim(self.take("word", "")) if word else self.integer())
            if not self.accept(","):
                self.mark("]")
                break
        block = 0
        if self.now.text == ":":
            self.mark(":")
            if not re.fullmatch(r"c\d+", self.now.text):
                self.fail("a block of channels such as c16")
            block = int(self.take("word", "")[1:])
        return TensorType(tuple(shape), dtype, block, self.quant())

    def quant(self) -> Quant | None:
        if not self.accept("quant"):
            return None
        self.mark("(", "scale", "=")
        scale = self.attribute()
        self.mark(",", "zero_point", "=")
        zero_point = self.attribute()
        axis = None
        if self.accept(","):
            self.mark("axis", "=")
            axis = self.integer()
        self.mark(")")
        return Quant(scale, zero_point, axis)

    def weight(self, value: Value) -> Array:
        dtype, shape = value.type.dtype, value.type.dims
        at = self.now.at
        if self.accept("?"):
            found = self.given.get(value.name)
            return self.fitting(value, _random(value) if found is None else found, at)
        if self.now.kind == "digest":
            key = self.take("digest", "")[1:]
            found = self.given.get(value.name, self.given.get(key))
            if found is None:
                self.fail("a weight that is given", at, f"@{key}", "pass weights={name: array}")
            return self.fitting(value, found, at)
        elements = [self.element(dtype)] if not shape else self.elements(dtype)
        if len(elements) != value.type.size:
            self.fail(f"{value.type.size} elements for {value.type}", at, str(len(elements)))
        if dtype.kind == "s":
            found = np.empty(len(elements), object)
            found[:] = elements
            return found.reshape(shape)
        return np.array(elements, dtype.numpy).reshape(shape)

    def fitting(self, value: Value, array: Array, at: int) -> Array:
        dtype, shape = value.type.dtype, value.type.dims
        if array.dtype == np.uint8 and array.size == value.type.size * dtype.bytes != 0:
            array = array.reshape(-1).view(dtype.numpy).reshape(shape)
        if array.dtype != dtype.numpy or array.shape != shape:
            self.fail(f"an array {value.type}", at, f"{array.dtype}{list(array.shape)}")
        return array

    def elements(self, dtype: DType) -> list[Any]:
        self.mark("[")
        found: list[Any] = []
        while not self.accept("]"):
            found.append(self.element(dtype))
            if not self.accept(","):
                self.mark("]")
                break
        return found

    def element(self, dtype: DType) -> Any:
        if dtype.kind == "c":
            return complex(*self.attribute())
        found = self.attribute()
        fits = {"s": (str,), "b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}
        if not isinstance(found, fits[dtype.kind]):
            self.fail(f"an element of {dtype}", None, repr(found))
        return found

    def node(self, known: dict[str, Value]) -> Node:
        if self.now.kind != "value":
            self.fail("`%name: type = Operator(...)` or `return`")
        new: dict[str, Value] = {}
        outputs: list[Value] = []
        while True:
            at = self.now.at
            outputs.append(self.declared(new))
            if outputs[-1].name in known:
                self.fail("a new name", at, f"`%{outputs[-1].name}`, which is defined already")
            if not self.accept(","):
                break
        self.mark("=")
        at, word = self.now.at, self.take("word", "an operator's name")
        if word not in self.operators:
            self.fail("an operator", at, f"`{word}`", "see ops.OPERATORS for their names")
        self.mark("(")
        inputs: list[Value] = []
        attributes: dict[str, Any] = {}
        while not self.accept(")"):
            if self.now.kind == "value" and not attributes:
                inputs.append(self.used(known))
            else:
                key = self.take("word", "a value, an attribute or `)`")
                self.mark("=")
                attributes[key] = self.attribute()
            if not self.accept(","):
                self.mark(")")
                break
        try:
            op = self.operators[word](**attributes)
        except (TypeError, PlanckError) as error:
            self.fail(f"attributes that {word} takes", at, str(error).splitlines()[0])
        known.update(new)
        return Node(op, tuple(inputs), tuple(outputs), self.origin())

    def origin(self) -> tuple[str, ...]:
        if not self.accept("# from"):
            return ()
        found = [self.string()]
        while self.accept(","):
            found.append(self.string())
        return tuple(found)

    def attribute(self) -> Any:
        if self.now.text == "graph":
            return self.graph()
        if self.now.kind == "string":
            return self.string()
        if self.now.kind == "number":
            number = self.take("number", "")
            return int(number) if re.fullmatch(r"[-+]?\d+", number) else float(number)
        if self.now.kind == "word":
            words = {"True": True, "False": False, "None": None, **BY_NAME}
            if self.now.text not in words:
                self.fail("a number, a text, a dtype, True, False, None, a tuple or a graph")
            return words[self.take("word", "")]
        self.mark("(")
        parts = []
        while not self.accept(")"):
            parts.append(self.attribute())
            if not self.accept(","):
                self.mark(")")
                break
        return tuple(parts)


def _random(value: Value) -> Array:
    """Numbers that depend on the name and the type alone: floats about 1, integers 0 to 4."""
    rng = np.random.default_rng(zlib.crc32(str(value).encode()))
    dtype, shape = value.type.dtype, value.type.dims
    if dtype.is_float:
        return (rng.standard_normal(shape) * 0.5).astype(dtype.numpy)
    return rng.integers(0, 2 if dtype.kind == "b" else 5, shape).astype(dtype.numpy)
