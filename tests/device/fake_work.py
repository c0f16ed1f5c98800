"""What a GPU without a GPU has to do: streams, events, launches, and graphs of them.

A stream keeps what is put in it until somebody waits, and a graph replays what it captured in the
worst order that its edges allow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from planck.device.cuda.driver import Parameters


@dataclass(eq=False)
class Op:
    run: Callable[[], None]
    done: bool = False


@dataclass(eq=False)
class Node:
    """A launch or an event in a graph, and the numbers of the nodes that it waits for."""

    item: Any
    after: frozenset[int]

    @property
    def shape(self) -> tuple[Any, ...]:
        return (self.item.shape, self.after)


@dataclass(eq=False)
class Graph:
    """origin: the stream whose capture it is; others join it by waiting for an event of it"""

    origin: Any
    nodes: list[Node] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident)

    def order(self) -> list[Any]:
        """What may be first is last if it can: a wait that is missing gives wrong results."""
        left, done, found = dict(enumerate(self.nodes)), set[int](), list[Any]()
        while left:
            number = max(n for n, node in left.items() if node.after <= done)
            done.add(number)
            found.append(left.pop(number).item)
        return found

    def before(self, numbers: Iterable[int]) -> set[int]:
        """These nodes, and all that they wait for."""
        found: set[int] = set()
        open_ = list(numbers)
        while open_:
            number = open_.pop()
            if number not in found:
                found.add(number)
                open_ += self.nodes[number].after
        return found

    def put(self, item: Any, stream: Stream) -> None:
        """The next thing of a stream that is captured."""
        self.nodes.append(Node(item, stream.tail))
        stream.tail, stream.waits = frozenset([len(self.nodes) - 1]), False

    def end(self, streams: Iterable[Stream]) -> bool:
        """Whether all that was captured comes before the end; the streams are free again."""
        joined, whole = self.before(self.origin.tail), True
        for stream in streams:
            if stream.captured is self:
                whole = whole and stream.tail <= joined
                stream.captured, stream.tail, stream.waits = None, frozenset(), False
        return whole


@dataclass(eq=False)
class Stream:
    """tail: of a captured stream, the nodes that its next waits for; waits: it waited for others"""

    pointer: int
    pending: list[Op] = field(default_factory=list)
    captured: Graph | None = None
    tail: frozenset[int] = frozenset()
    waits: bool = False

    def __int__(self) -> int:
        return self.pointer

    def put(self, run: Callable[[], Any]) -> Op:
        self.pending.append(Op(run))
        return self.pending[-1]

    def drain(self, last: Op | None = None) -> None:
        """Do what is pending, or as much as it takes for `last` to be done."""
        while self.pending and not (last and last.done):
            op = self.pending.pop(0)
            op.done = True
            op.run()


@dataclass(eq=False)
class Event:
    timed: bool
    at_us: float | None = None
    op: Op | None = None
    stream: Stream | None = None
    graph: Graph | None = None  # whose capture it was recorded in, behind these nodes
    tail: frozenset[int] = frozenset()


@dataclass(eq=False)
class Function:
    name: str
    module: Any
    shared_bytes: int = 48 * 1024


@dataclass(eq=False)
class Launch:
    """Prepared, and with the pointers that were in it as it was put in a stream."""

    function: Function
    grid: int
    threads: int
    shared_bytes: int
    dependent: bool
    parameters: Parameters
    pointers: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[Any, ...]:
        return (self.function, self.grid, self.threads, self.shared_bytes, self.dependent)


@dataclass(eq=False)
class Work:
    """What another library puts in a stream: `shape` says whether a graph's may take its place."""

    shape: Any
    run: Callable[[], None]
    dependent: bool = False
