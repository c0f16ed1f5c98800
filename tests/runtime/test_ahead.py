"""What steps fetch for later ones: the schedule, and how the engine loop hands it to units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planck import dtypes
from planck.codegen import engine
from planck.codegen.link import link
from planck.codegen.llvm import Builder, compile_object, function
from planck.device import system
from planck.ir.types import TensorType
from planck.plan import record
from planck.plan.model import Place, Plan, Slot, Step
from planck.runtime import Engine, records
from planck.runtime.ahead import Ahead, schedule
from planck.target import Target, host

MB = 1 << 20


def network(steps: list[tuple[int, float, float]], l3_bytes: int = 32 * MB) -> Plan:
    """A plan that cannot run, of steps (bytes of weights, microseconds, MFLOP) on two threads."""
    target = replace(host(), l3_bytes=l3_bytes)
    made, at = [], 0
    for number, (bytes_, us, mflops) in enumerate(steps):
        made.append(
            Step(
                name=f"s{number}",
                tactic="hand",
                symbol="none",
                arguments=(Place("arena"), *([Place("weights", at)] if bytes_ else [])),
                reads=(),
                writes=(),
                measured_us=us,
                flops=int(mflops * 1e6),
                weight_bytes=bytes_,
            )
        )
        at += bytes_
    return Plan(
        "net", target, "fp32", 2, (), (), (), tuple(made), 0, b"", {}, bytes(at)
    )  # fmt: skip


def test_a_step_that_waits_for_memory_is_fetched_for() -> None:
    """The nearest steps first, for the ends of the weights; each fetches for one step."""
    plan = network([(MB, 400, 800), (MB, 200, 240), (MB, 100, 120), (46 * MB, 700, 300)])
    third, second, first = schedule(plan, 2)[2], schedule(plan, 2)[1], schedule(plan, 2)[0]
    begin, end = 3 * MB, 49 * MB
    assert third == Ahead(begin, end, third.bytes)
    assert second == Ahead(begin + third.bytes // 2, end - third.bytes // 2, second.bytes)
    done = third.bytes + second.bytes
    assert first == Ahead(begin + third.bytes // 2 + second.bytes // 2, first.back, first.bytes)
    assert 3 * MB < done + first.bytes <= 16 * MB
    assert schedule(plan, 2)[3] == Ahead()


def test_nothing_is_fetched_where_it_would_not_help() -> None:
    starved = [(MB, 400, 800), (48 * MB, 700, 300)]
    for plan in (
        network(starved, l3_bytes=64 * MB),  # the last cache keeps most weights
        network([(MB, 0, 800), (48 * MB, 0, 300)]),  # nothing was timed
        network([(MB, 400, 800), (48 * MB, 9000, 300)]),  # memory is fast enough
        network([(12 * MB, 400, 800), (48 * MB, 700, 300)]),  # no step has bandwidth to spare
        network([(MB, 400, 1), (48 * MB, 700, 300)]),  # no step has loops to fetch in
    ):
        assert schedule(plan, 2) == [Ahead()] * len(plan.steps)
    assert schedule(network(starved), 1) == [Ahead()] * 2  # one thread has memory to itself
    assert schedule(network(starved), 2)[0].bytes
    assert schedule(network(starved, l3_bytes=0), 2)[0].bytes == 0


steps = st.tuples(
    st.integers(0, 20 * MB // 64).map(lambda lines: lines * 64),
    st.floats(0, 1000),
    st.floats(0, 500),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 40))
def test_schedules_stay_inside_the_weights_and_the_cache(
    rows: list[tuple[int, float, float]], threads: int, l3_mb: int
) -> None:
    plan = network(rows, l3_mb * MB)
    found = schedule(plan, threads)
    starts = np.cumsum([0, *(bytes_ for bytes_, _, _ in rows)])
    fetched: dict[int, int] = {}
    for number, part in enumerate(found):
        if not part.bytes:
            continue
        sink = int(np.searchsorted(starts, part.front, side="right")) - 1
        assert sink > number
        assert starts[sink] <= part.front <= part.back <= starts[sink + 1]
        assert part.front + part.bytes // 2 <= starts[sink + 1]
        assert part.back - part.bytes // 2 >= starts[sink]
        fetched[sink] = fetched.get(sink, 0) + part.bytes
    for sink, bytes_ in fetched.items():
        assert bytes_ <= rows[sink][0]
        assert bytes_ <= l3_mb * MB


def note(target: Target) -> str:
    """A kernel that writes what its unit shall fetch, from and to, at the unit's place."""
    b = Builder()
    y = b.load("ptr", "%args", 8)
    with b.loop("%begin", "%end") as i:
        at = b.offset(y, b.let(f"shl i64 {i}, 4"))
        for number, place in enumerate((record.SCRATCH_CURSOR, record.SCRATCH_LIMIT)):
            b.store(
                "i64", b.load("i64", b.offset("%scratch", place), 8), b.offset(at, 8 * number), 8
            )
    b.do("ret void")
    return function(target, "note", b)


def noted(tiles: int, grain: int, threads: int, part: Ahead, monkeypatch: Any) -> Any:
    """i64[tiles, 2]: what each tile's unit was told, in bytes from the beginning of the weights."""
    target = host()
    image = link(
        {
            "loop": compile_object(target, engine.source(target), 2),
            "note": compile_object(target, note(target), 2),
        }
    )
    out = Slot("y", TensorType((tiles, 2), dtypes.i64), Place("output"), (2, 1))
    step = Step("note", "hand", "note", (Place("output"),), (), (0,), tiles=tiles, grain=grain)
    plan = Plan(
        "notes", target, "fp32", 2, (), (out,), (out,), (step,), 64, image.code, image.symbols,
        bytes(1 << 16),
    )  # fmt: skip
    monkeypatch.setattr(records, "schedule", lambda plan, threads: [part])
    ready = Engine(plan)
    with ready.create_execution_context(threads) as context:
        return context({})["y"] - system.address(ready.weights)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("tiles", "grain"), [(1, 1), (2, 1), (7, 1), (12, 5), (33, 2)])
def test_units_share_what_a_step_fetches(
    tiles: int, grain: int, threads: int, monkeypatch: Any
) -> None:
    """The lower half from the front up, the upper half up to the end, without gaps."""
    part = Ahead(front=1024, back=60_032, bytes=20_000)
    got = noted(tiles, grain, threads, part, monkeypatch)
    got = got[:: grain if threads > 1 else tiles]
    units = len(got)
    share = part.bytes // units // 64 * 64
    assert (got[:, 1] - got[:, 0] == share).all()
    lower = -(-units // 2)
    np.testing.assert_array_equal(got[:lower, 0], part.front + share * np.arange(lower))
    np.testing.assert_array_equal(
        got[lower:, 1], part.back - share * np.arange(units - lower)[::-1]
    )


def test_steps_that_fetch_nothing_say_so(monkeypatch: Any) -> None:
    got = noted(9, 1, 2, Ahead(), monkeypatch)
    np.testing.assert_array_equal(got[:, 0], got[:, 1])
